// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/tensor.hpp"
#include "query2label/ops/sliding_window.hpp"

// What a convolution multiplies: the row sources of its product (see kernels/matmul_tile.hpp).

namespace q2l::ops {

struct Conv2dShape {
  std::size_t in_channels = 0;
  std::size_t out_channels = 0;
  std::size_t kernel = 1;  ///< height and width
  std::size_t stride = 1;
  std::size_t padding = 0;

  /// Output height (width) for an input height (width); 0 where no window fits.
  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    return window_positions(input, kernel, stride, padding);
  }
};

namespace detail {

/// Row source of a convolution: row i is output pixel i; tap t is kernel position t.
template <class T>
struct ConvolutionRows {
  FeatureMap<const T> in;
  Conv2dShape shape;
  std::size_t out_height, out_width;
  const T* zeros;

  void pointers(std::size_t first, std::size_t count, std::size_t first_tap, std::size_t taps,
                const T** out) const noexcept {
    std::size_t x = first % out_width;
    std::size_t y = first / out_width % out_height;
    std::size_t n = first / out_width / out_height;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t r = first_tap / shape.kernel;
      std::size_t s = first_tap % shape.kernel;
      for (std::size_t t = 0; t < taps; ++t) {
        const std::size_t in_y = y * shape.stride + r - shape.padding;  // wraps above the top
        const std::size_t in_x = x * shape.stride + s - shape.padding;
        out[t * count + i] = in_y < in.height && in_x < in.width ? in.pixel(n, in_y, in_x) : zeros;
        if (++s == shape.kernel) {
          s = 0;
          ++r;
        }
      }
      if (++x == out_width) {
        x = 0;
        if (++y == out_height) {
          y = 0;
          ++n;
        }
      }
    }
  }
};

/// Row source of a convolution whose taps are kernel rows; `in` carries its zero border.
template <class T>
struct KernelRowRows {
  FeatureMap<const T> in;
  Conv2dShape shape;
  std::size_t out_height, out_width;

  void pointers(std::size_t first, std::size_t count, std::size_t first_tap, std::size_t taps,
                const T** out) const noexcept {
    std::size_t x = first % out_width;
    std::size_t y = first / out_width % out_height;
    std::size_t n = first / out_width / out_height;
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t t = 0; t < taps; ++t) {
        out[t * count + i] = in.pixel(n, y * shape.stride + first_tap + t, x * shape.stride);
      }
      if (++x < out_width) continue;
      x = 0;
      if (++y < out_height) continue;
      y = 0;
      ++n;
    }
  }
};

}  // namespace detail
}  // namespace q2l::ops
