// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

#include "query2label/core/shape_check.hpp"

// The windows of convolutions and pools.

namespace q2l::ops {

/// Positions of a window of `kernel` elements every `stride` along `input` elements with `padding`
/// more at either end: the height (width) of an output. 0 where none fits or there is no input.
constexpr std::size_t window_positions(std::size_t input, std::size_t kernel, std::size_t stride,
                                       std::size_t padding) noexcept {
  const std::size_t padded = input + 2 * padding;
  if (input == 0 || kernel == 0 || stride == 0 || padded < kernel) return 0;
  return (padded - kernel) / stride + 1;
}

/// Throws Error bad_argument about `op` unless windows have elements and move.
inline void require_window(std::size_t kernel, std::size_t stride, std::string_view op) {
  require_argument(kernel > 0 && stride > 0, op, "kernel and stride must be at least 1");
}

}  // namespace q2l::ops
