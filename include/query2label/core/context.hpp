// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

#include "query2label/core/parallel_for.hpp"
#include "query2label/core/workspace.hpp"

namespace q2l {

/// What an op needs besides its operands: threads and scratch. One per running inference.
struct Context {
  TaskRunner& runner;
  std::size_t workers;  ///< at most this many threads; results do not depend on it
  Workspace& workspace;

  /// True while only memory is being counted: an op returns after its shape checks.
  [[nodiscard]] bool is_planning() const noexcept { return workspace.is_planning(); }

  template <class Body>
  void parallel_for(std::size_t count, Body&& body) const {
    q2l::parallel_for(runner, workers, count, std::forward<Body>(body));
  }
};

}  // namespace q2l
