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

/// While one lives, operator new and aligned_alloc have no memory for this thread's request number
/// `first`, counted from 1, and, if `lasts`, for any after it.
class AllocationFailure {
 public:
  AllocationFailure(std::size_t first, bool lasts) noexcept;
  ~AllocationFailure();
  AllocationFailure(const AllocationFailure&) = delete;
  AllocationFailure& operator=(const AllocationFailure&) = delete;
  /// Whether a request has failed.
  [[nodiscard]] bool happened() const noexcept;
};

}  // namespace q2l::test
