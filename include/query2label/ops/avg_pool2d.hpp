// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/sliding_window.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::ops {

/// Window of an average pool without padding whose last windows may reach beyond the picture.
struct AvgPool2dShape {
  std::size_t kernel = 2;
  std::size_t stride = 2;

  /// Every window that begins inside the picture, as long as the one before leaves a rest.
  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    if (input == 0 || kernel == 0 || stride == 0) return 0;
    if (input <= kernel) return 1;
    return std::min((input - kernel + stride - 1) / stride + 1, (input + stride - 1) / stride);
  }
};

/// torch.nn.AvgPool2d(kernel, stride, ceil_mode=True, count_include_pad=False):
/// out [N, H', W', C] = the mean of each window of in [N, H, W, C] over the pixels that exist.
/// Error of an element: at most (kernel^2 + 1) eps times the window's mean magnitude.
/// Throws Error bad_argument when shapes do not fit or the kernel or stride is 0.
template <class T, class Arch>
void avg_pool2d(const Context& context, const AvgPool2dShape& shape, FeatureMap<const T> in,
                FeatureMap<T> out) {
  require_window(shape.kernel, shape.stride, "avg_pool2d");
  require_equal(out.batch, in.batch, "avg_pool2d: batch of out");
  require_equal(out.channels, in.channels, "avg_pool2d: channels of out");
  require_equal(out.height, shape.output(in.height), "avg_pool2d: height of out");
  require_equal(out.width, shape.output(in.width), "avg_pool2d: width of out");
  if (context.is_planning()) return;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    const std::size_t y_begin = y * shape.stride;
    const std::size_t y_end = std::min(y_begin + shape.kernel, in.height);
    for (std::size_t x = 0; x < out.width; ++x) {
      const std::size_t x_begin = x * shape.stride;
      const std::size_t x_end = std::min(x_begin + shape.kernel, in.width);
      using B = simd::Batch<T, Arch>;
      const B share(T(1) / static_cast<T>((y_end - y_begin) * (x_end - x_begin)));
      T* to = out.pixel(n, y, x);
      simd::for_each_lane_group<T, Arch>(in.channels, [&](std::size_t c, auto load, auto store) {
        B total(T(0));
        for (std::size_t v = y_begin; v < y_end; ++v) {
          for (std::size_t u = x_begin; u < x_end; ++u) {
            total += load(in.pixel(n, v, u) + c);
          }
        }
        store(to + c, total * share);
      });
    }
  });
}

}  // namespace q2l::ops
