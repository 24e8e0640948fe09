// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/blur_kernel.hpp"

namespace q2l::ops {

/// Output height (width) of `blur_pool2d` for an input height (width).
constexpr std::size_t blur_pool2d_output(std::size_t input) noexcept { return (input + 1) / 2; }

/// Anti-aliased downsampling (Zhang, arXiv 1904.11486): out [N, ceil(H/2), ceil(W/2), C] is every
/// second pixel of in [N, H, W, C] filtered by (1,2,1) x (1,2,1) / 16, the border reflected without
/// repeating the edge (row -1 is row 1). Error as `kernels::blur_pixel`.
/// Throws Error bad_argument when shapes do not fit or H or W is below 2: nothing to reflect.
template <class T, class Arch>
void blur_pool2d(const Context& context, FeatureMap<const T> in, FeatureMap<T> out) {
  require_argument(in.height >= 2 && in.width >= 2, "blur_pool2d", "needs at least 2 x 2 pixels");
  require_equal(out.batch, in.batch, "blur_pool2d: batch of out");
  require_equal(out.channels, in.channels, "blur_pool2d: channels of out");
  require_equal(out.height, blur_pool2d_output(in.height), "blur_pool2d: height of out");
  require_equal(out.width, blur_pool2d_output(in.width), "blur_pool2d: width of out");
  if (context.is_planning()) return;
  // The neighbours of pixel `at`: reflected, both are the one inside.
  const auto before = [](std::size_t at) { return at == 0 ? 1 : at - 1; };
  const auto after = [](std::size_t at, std::size_t limit) {
    return at + 1 == limit ? at - 1 : at + 1;
  };
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    const std::array rows{before(2 * y), 2 * y, after(2 * y, in.height)};
    for (std::size_t x = 0; x < out.width; ++x) {
      const std::array columns{before(2 * x), 2 * x, after(2 * x, in.width)};
      std::array<const T*, 9> pixels;
      for (std::size_t i = 0; i < 9; ++i) pixels[i] = in.pixel(n, rows[i / 3], columns[i % 3]);
      kernels::blur_pixel<T, Arch>(pixels, out.pixel(n, y, x), in.channels);
    }
  });
}

}  // namespace q2l::ops
