// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace q2l::test {

/// What this thread asked operator new for since the watch began.
class AllocationWatch {
 public:
  AllocationWatch() noexcept;
  [[nodiscard]] std::size_t largest() const noexcept;  ///< bytes of the largest request
  [[nodiscard]] std::size_t total() const noexcept;    ///< bytes of all requests
};

}  // namespace q2l::test
