// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/sliding_window.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::ops {

/// Window of a pooling op; padded positions never win.
struct Pool2dShape {
  std::size_t kernel = 2;
  std::size_t stride = 2;
  std::size_t padding = 0;  ///< at most kernel / 2

  struct Range {
    std::size_t begin, end;
  };

  /// Output height (width) for an input height (width); 0 where no window fits.
  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    return window_positions(input, kernel, stride, padding);
  }
  /// The rows (columns) of an input of `extent` under the window of output row (column) `at`.
  [[nodiscard]] constexpr Range window(std::size_t at, std::size_t extent) const noexcept {
    const std::size_t begin = at * stride;
    return {begin > padding ? begin - padding : 0, std::min(begin + kernel - padding, extent)};
  }
};

namespace detail {

/// Throws Error bad_argument unless `out` is what pooling makes of `in`.
template <class T>
void require_pooled(const Pool2dShape& shape, FeatureMap<const T> in, FeatureMap<const T> out) {
  require_window(shape.kernel, shape.stride, "max_pool2d");
  require_argument(2 * shape.padding <= shape.kernel, "max_pool2d", "padding exceeds kernel / 2");
  require_equal(out.batch, in.batch, "max_pool2d: batch of out");
  require_equal(out.channels, in.channels, "max_pool2d: channels of out");
  require_equal(out.height, shape.output(in.height), "max_pool2d: height of out");
  require_equal(out.width, shape.output(in.width), "max_pool2d: width of out");
}

/// Row `y` of the output, `out` [W', C]; the input's pixel (v, u) lies at `pixel(v, u)`.
template <class T, class Arch, class Pixel>
void max_pool_row(const Pool2dShape& shape, std::size_t height, std::size_t width, std::size_t y,
                  const Pixel& pixel, Matrix<T> out) {
  const simd::Batch<T, Arch> not_a_number(std::numeric_limits<T>::quiet_NaN());
  const Pool2dShape::Range down = shape.window(y, height);
  for (std::size_t x = 0; x < out.rows; ++x) {
    const Pool2dShape::Range across = shape.window(x, width);
    T* const to = out.row(x);
    simd::for_each_lane_group<T, Arch>(out.columns, [&](std::size_t c, auto load, auto store) {
      auto largest = load(pixel(down.begin, across.begin) + c);
      auto is_nan = xsimd::isnan(largest);  // `max` may lose it
      for (std::size_t v = down.begin; v < down.end; ++v) {
        for (std::size_t u = across.begin; u < across.end; ++u) {
          const auto value = load(pixel(v, u) + c);
          is_nan = is_nan | xsimd::isnan(value);
          largest = xsimd::max(largest, value);
        }
      }
      store(to + c, xsimd::select(is_nan, not_a_number, largest));
    });
  }
}

}  // namespace detail

/// torch.nn.MaxPool2d: out [N, H', W', C] = the largest of each window of in [N, H, W, C], NaN
/// where there is one. Exact.
/// Throws Error bad_argument when shapes do not fit or the kernel or stride is 0.
template <class T, class Arch>
void max_pool2d(const Context& context, const Pool2dShape& shape, FeatureMap<const T> in,
                FeatureMap<T> out) {
  detail::require_pooled<T>(shape, in, out);
  if (context.is_planning()) return;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    detail::max_pool_row<T, Arch>(shape, in.height, in.width, y,
                                  [&](std::size_t v, std::size_t u) { return in.pixel(n, v, u); },
                                  {out.pixel(n, y, 0), out.width, out.channels, out.stride});
  });
}

}  // namespace q2l::ops
