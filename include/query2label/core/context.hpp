// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

#include "query2label/core/layer_observer.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"

namespace q2l {

/// A number of threads; 0 is taken for 1, the calling one.
class WorkerCount {
 public:
  constexpr WorkerCount(std::size_t count) noexcept  // implicit, as it is a number
      : count_(count == 0 ? 1 : count) {}
  constexpr operator std::size_t() const noexcept { return count_; }

 private:
  std::size_t count_;
};

/// What an op needs besides its operands: threads and scratch. One per running inference.
struct Context {
  TaskRunner& runner;
  WorkerCount workers;  ///< at most this many threads; results do not depend on it
  Workspace& workspace;
  LayerObserver* observer = nullptr;

  /// True while only memory is being counted: an op returns after its shape checks.
  [[nodiscard]] bool is_planning() const noexcept { return workspace.is_planning(); }

  /// Shows a layer's input and output to the observer, if there is one.
  template <class T>
  void observe(std::string_view layer, Matrix<const T> in, Matrix<const T> out) const {
    if constexpr (std::is_same_v<T, float>) {
      if (observer && !is_planning()) observer->observe(layer, in, out);
    }
  }

  template <class Body>
  void parallel_for(std::size_t count, Body&& body) const {
    q2l::parallel_for(runner, workers, count, std::forward<Body>(body));
  }
  template <class Body>
  void parallel_for_ranges(std::size_t count, Body&& body) const {
    q2l::parallel_for_ranges(runner, workers, count, std::forward<Body>(body));
  }
};

}  // namespace q2l
