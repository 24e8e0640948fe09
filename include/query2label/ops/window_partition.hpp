// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/matmul.hpp"

// Swin cuts a grid into square windows, every other time after shifting it around its edges
// (arXiv 2103.14030). Nothing is copied for that: the linear layer before the attention reads its
// rows in window order, the one behind it reads them in grid order.

namespace q2l::ops {

/// Windows of `window` x `window` tokens over a batch of grids, each padded with zeros at the
/// bottom and right to whole windows, then shifted up and left by `shift` around its edges.
struct WindowPartition {
  std::size_t batch = 0;
  std::size_t height = 0;  ///< of a grid
  std::size_t width = 0;
  std::size_t window = 1;
  std::size_t shift = 0;  ///< less than `window`

  [[nodiscard]] constexpr std::size_t windows_down() const noexcept {
    return windows_along(height);
  }
  [[nodiscard]] constexpr std::size_t windows_across() const noexcept {
    return windows_along(width);
  }
  [[nodiscard]] constexpr std::size_t windows() const noexcept {
    return batch * windows_down() * windows_across();
  }
  /// Padding included.
  [[nodiscard]] constexpr std::size_t tokens() const noexcept {
    return windows() * window * window;
  }

 private:
  [[nodiscard]] constexpr std::size_t windows_along(std::size_t extent) const noexcept {
    return window == 0 ? 0 : (extent + window - 1) / window;
  }
};

namespace detail {

/// Row source: row i is token i in window order, or zeros where it is padding.
template <class T>
struct GridToWindowRows {
  FeatureMap<const T> grid;
  WindowPartition partition;
  const T* zeros;  ///< a pixel

  void pointers(std::size_t first, std::size_t count, std::size_t, std::size_t,
                const T** out) const noexcept {
    const std::size_t side = partition.window;
    const std::size_t down = partition.windows_down();
    const std::size_t across = partition.windows_across();
    const std::size_t window = first / (side * side);
    std::size_t inner_x = first % side;
    std::size_t inner_y = first / side % side;
    std::size_t window_x = window % across;
    std::size_t window_y = window / across % down;
    std::size_t n = window / across / down;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t y = window_y * side + inner_y + partition.shift;
      std::size_t x = window_x * side + inner_x + partition.shift;
      if (y >= down * side) y -= down * side;
      if (x >= across * side) x -= across * side;
      out[i] = y < grid.height && x < grid.width ? grid.pixel(n, y, x) : zeros;
      if (++inner_x < side) continue;
      inner_x = 0;
      if (++inner_y < side) continue;
      inner_y = 0;
      if (++window_x < across) continue;
      window_x = 0;
      if (++window_y < down) continue;
      window_y = 0;
      ++n;
    }
  }
};

/// Row source: row i is pixel i of the grids, found among tokens in window order.
template <class T>
struct WindowToGridRows {
  Matrix<const T> tokens;
  WindowPartition partition;

  void pointers(std::size_t first, std::size_t count, std::size_t, std::size_t,
                const T** out) const noexcept {
    const std::size_t side = partition.window;
    const std::size_t down = partition.windows_down();
    const std::size_t across = partition.windows_across();
    std::size_t x = first % partition.width;
    std::size_t y = first / partition.width % partition.height;
    std::size_t n = first / partition.width / partition.height;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t shifted_y = (y < partition.shift ? y + down * side : y) - partition.shift;
      const std::size_t shifted_x = (x < partition.shift ? x + across * side : x) - partition.shift;
      const std::size_t window = (n * down + shifted_y / side) * across + shifted_x / side;
      out[i] = tokens.row((window * side + shifted_y % side) * side + shifted_x % side);
      if (++x < partition.width) continue;
      x = 0;
      if (++y < partition.height) continue;
      y = 0;
      ++n;
    }
  }
};

inline void require_partition(const WindowPartition& p, std::size_t batch, std::size_t height,
                              std::size_t width) {
  require_argument(p.window > 0 && p.shift < p.window, "WindowPartition",
                   "the shift must be less than the window");
  require_equal(batch, p.batch, "WindowPartition: batch");
  require_equal(height, p.height, "WindowPartition: height of the grid");
  require_equal(width, p.width, "WindowPartition: width of the grid");
}

}  // namespace detail

/// out [tokens, D'] = linear(tokens of in [N, H, W, D] in window order). `zeros` is a pixel of the
/// padding. Error as `linear`. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void linear_to_windows(const Context& context, const Linear<T, Arch>& layer,
                       const WindowPartition& partition, FeatureMap<const T> in, const T* zeros,
                       Matrix<T> out) {
  detail::require_partition(partition, in.batch, in.height, in.width);
  require_equal(in.channels, layer.in_features(), "linear_to_windows: channels of in");
  require_equal(out.rows, partition.tokens(), "linear_to_windows: rows of out");
  matmul<T, Arch>(context, detail::GridToWindowRows<T>{in, partition, zeros}, layer.weights, {},
                  out);
  context.observe<T>(layer.name, in.pixels(), out);
}

/// out [N, H, W, D'] = linear(in [tokens, D] put back in grid order, padding dropped), with
/// `options` as for `linear`. Error as `linear`. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void linear_from_windows(const Context& context, const Linear<T, Arch>& layer,
                         const WindowPartition& partition, Matrix<const T> in, FeatureMap<T> out,
                         const OutputOptions<T>& options = {}) {
  detail::require_partition(partition, out.batch, out.height, out.width);
  require_equal(in.columns, layer.in_features(), "linear_from_windows: columns of in");
  require_equal(in.rows, partition.tokens(), "linear_from_windows: rows of in");
  matmul<T, Arch>(context, detail::WindowToGridRows<T>{in, partition}, layer.weights, options,
                  out.pixels());
  context.observe<T>(layer.name, in, out.pixels());
}

}  // namespace q2l::ops
