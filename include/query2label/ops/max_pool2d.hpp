// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::ops {

/// Window of a pooling op; padded positions never win.
struct Pool2dShape {
  std::size_t kernel = 2;
  std::size_t stride = 2;
  std::size_t padding = 0;  ///< at most kernel / 2

  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    return input + 2 * padding < kernel ? 0 : (input + 2 * padding - kernel) / stride + 1;
  }
};

/// torch.nn.MaxPool2d: out [N, H', W', C] = the largest of each window of in [N, H, W, C]. Exact.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void max_pool2d(const Context& context, const Pool2dShape& shape, FeatureMap<const T> in,
                FeatureMap<T> out) {
  require_argument(2 * shape.padding <= shape.kernel, "max_pool2d", "padding exceeds kernel / 2");
  require_equal(out.batch, in.batch, "max_pool2d: batch of out");
  require_equal(out.channels, in.channels, "max_pool2d: channels of out");
  require_equal(out.height, shape.output(in.height), "max_pool2d: height of out");
  require_equal(out.width, shape.output(in.width), "max_pool2d: width of out");
  if (context.is_planning()) return;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    const auto window = [&](std::size_t at, std::size_t limit) {
      const std::size_t begin = at * shape.stride;
      return std::pair(begin > shape.padding ? begin - shape.padding : 0,
                       std::min(begin + shape.kernel - shape.padding, limit));
    };
    const auto [y_begin, y_end] = window(y, in.height);
    for (std::size_t x = 0; x < out.width; ++x) {
      const auto [x_begin, x_end] = window(x, in.width);
      T* to = out.pixel(n, y, x);
      simd::for_each_lane_group<T, Arch>(
          in.channels, [&, y_begin = y_begin, y_end = y_end, x_begin = x_begin, x_end = x_end](
                           std::size_t c, auto load, auto store) {
            auto largest = load(in.pixel(n, y_begin, x_begin) + c);
            for (std::size_t v = y_begin; v < y_end; ++v) {
              for (std::size_t u = x_begin; u < x_end; ++u) {
                largest = xsimd::max(largest, load(in.pixel(n, v, u) + c));
              }
            }
            store(to + c, largest);
          });
    }
  });
}

}  // namespace q2l::ops
