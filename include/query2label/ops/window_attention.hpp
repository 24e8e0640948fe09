// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/scaled_dot_product_attention.hpp"
#include "query2label/ops/window_partition.hpp"

namespace q2l::ops {

/// Most tokens on a side of a window: the bias of a head has the fourth power of elements.
inline constexpr std::size_t largest_window = 32;

namespace detail {

/// bias [A, S^2, S^2] of windows of S = `window` from the table [(2 W - 1)^2, A] of windows of
/// W = `table_window` >= S.
template <class T>
void expand_relative_position_bias(const T* table, std::size_t table_window, std::size_t heads,
                                   std::size_t window, T* bias) {
  const std::size_t side = 2 * table_window - 1;
  const std::size_t tokens = window * window;
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t q = 0; q < tokens; ++q) {
      for (std::size_t k = 0; k < tokens; ++k) {
        const std::size_t dy = q / window + table_window - 1 - k / window;
        const std::size_t dx = q % window + table_window - 1 - k % window;
        *bias++ = table[(dy * side + dx) * heads + h];
      }
    }
  }
}

/// Which seams of a shifted grid a window lies on: 1 in the last row of windows, plus 2 in the last
/// column. Other windows need no mask.
constexpr std::uint8_t seams(bool last_row, bool last_column) noexcept {
  return static_cast<std::uint8_t>((last_row ? 1 : 0) + (last_column ? 2 : 0));
}

/// masks [3, S^2, S^2] of windows on the seams 1, 2 and 3: what the reference adds to the scores of
/// tokens on different sides.
template <class T>
void fill_seam_masks(std::size_t window, T* masks) {
  constexpr T masked = T(-100);
  const std::size_t tokens = window * window;
  const std::size_t seam = window - window / 2;
  for (std::uint8_t lies_on = 1; lies_on <= 3; ++lies_on) {
    for (std::size_t q = 0; q < tokens; ++q) {
      for (std::size_t k = 0; k < tokens; ++k) {
        const std::uint8_t crosses = seams((q / window < seam) != (k / window < seam),
                                           (q % window < seam) != (k % window < seam));
        *masks++ = (lies_on & crosses) != 0 ? masked : T(0);
      }
    }
  }
}

/// For each window of a shifted grid the seams it lies on.
inline void fill_mask_index(const WindowPartition& partition, std::uint8_t* mask_of) {
  for (std::size_t i = 0; i < partition.windows(); ++i) {
    const std::size_t x = i % partition.windows_across();
    const std::size_t y = i / partition.windows_across() % partition.windows_down();
    mask_of[i] = seams(y + 1 == partition.windows_down(), x + 1 == partition.windows_across());
  }
}

}  // namespace detail

/// Swin's self-attention within windows of S x S tokens (arXiv 2103.14030), with a learned bias per
/// relative position of two tokens and, where shifted, a mask between tokens that only the shift
/// around the edges brought together. Bias and masks do not depend on the size of the grid.
template <class T, class Arch>
struct WindowAttention {
  std::size_t heads = 1;    ///< A
  std::size_t window = 1;   ///< S, where the grid is not smaller
  bool is_shifted = false;  ///< by half a window, where the grid is larger than a window
  Linear<T, Arch> qkv;      ///< D -> 3 D
  Linear<T, Arch> out;      ///< D -> D
  SharedBuffer<T> table;    ///< [(2 S - 1)^2, A]
  SharedBuffer<T> bias;     ///< [A, S^2, S^2], from the table
  SharedBuffer<T> masks;    ///< [3, S^2, S^2], or empty where not shifted
  AlignedBuffer<T> zeros;   ///< [D], a pixel of the padding

  WindowAttention() = default;

  /// `bias_table` [(2 S - 1)^2, A] as stored: row (dy + S - 1) (2 S - 1) + dx + S - 1 is for a
  /// query that lies dy below and dx right of its key. Throws Error bad_argument when sizes do not
  /// fit.
  WindowAttention(std::size_t heads_, std::size_t window_, bool is_shifted_, Linear<T, Arch> qkv_,
                  Linear<T, Arch> out_, const SharedBuffer<T>& bias_table)
      : heads(heads_),
        window(window_),
        is_shifted(is_shifted_),
        qkv(std::move(qkv_)),
        out(std::move(out_)),
        table(bias_table.copy()),
        zeros(width()) {
    require_argument(window > 0 && window <= largest_window, "WindowAttention",
                     "the window must have 1 to 32 tokens a side");
    require_equal(qkv.in_features(), width(), "WindowAttention: inputs of qkv");
    require_equal(qkv.out_features(), 3 * width(), "WindowAttention: outputs of qkv");
    require_equal(table.size(), (2 * window - 1) * (2 * window - 1) * heads,
                  "WindowAttention: elements of the bias table");
    std::fill_n(zeros.data(), width(), T(0));
    const std::size_t pairs = window * window * window * window;
    bias = SharedBuffer<T>::to_come(heads * pairs);
    masks = SharedBuffer<T>::to_come(is_shifted ? 3 * pairs : 0);
    if (!table.is_known()) return;
    AlignedBuffer<T> expanded(bias.size());
    detail::expand_relative_position_bias(table.data(), window, heads, window, expanded.data());
    bias = std::move(expanded);
    if (!is_shifted) return;
    AlignedBuffer<T> filled(masks.size());
    detail::fill_seam_masks(window, filled.data());
    masks = std::move(filled);
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("qkv", self.qkv);
    visit("out", self.out);
    visit("table", self.table);
    visit("bias", self.bias);
    visit("masks", self.masks);
  }

  [[nodiscard]] std::size_t width() const noexcept { return out.in_features(); }

  /// How grids are cut: no window is larger than a grid's shorter side, and where one is as large,
  /// nothing is shifted.
  [[nodiscard]] WindowPartition partition(std::size_t batch, std::size_t grid_height,
                                          std::size_t grid_width) const noexcept {
    const std::size_t side = std::min(grid_height, grid_width);
    return {batch, grid_height, grid_width, std::min(window, side),
            is_shifted && side > window ? window / 2 : 0};
  }
};

/// out [N, H, W, D] = attention within the windows of in [N, H, W, D], plus the residual of
/// `options`. Windows are cut to a grid's shorter side (a grid of 4 x 8 is two of 4 x 4 where S is
/// 7), and then not shifted; grids are padded with zeros to whole windows, and the padding takes
/// part in the attention. `out` must not be `in`. Error: that of two `linear` and
/// `scaled_dot_product_attention`. Throws Error bad_argument when shapes do not fit or there are no
/// pixels.
template <class T, class Arch>
void window_attention(const Context& context, const WindowAttention<T, Arch>& layer,
                      FeatureMap<const T> in, FeatureMap<T> out,
                      const OutputOptions<T>& options = {}) {
  require_argument(in.pixel_count() > 0, "window_attention", "needs at least one pixel");
  const std::size_t width = layer.width();
  const WindowPartition partition = layer.partition(in.batch, in.height, in.width);
  const std::size_t tokens = partition.window * partition.window;
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> qkv = context.workspace.take_matrix<T>(partition.tokens(), 3 * width);
  const Matrix<T> attended = context.workspace.take_matrix<T>(partition.tokens(), width);

  AttentionBias<T> bias{layer.bias.data()};
  if (partition.window < layer.window) {
    T* const clipped = context.workspace.take<T>(layer.heads * tokens * tokens);
    bias.heads = clipped;
    if (!context.is_planning()) {
      detail::expand_relative_position_bias(layer.table.data(), layer.window, layer.heads,
                                            partition.window, clipped);
    }
  }
  if (partition.shift > 0) {
    std::uint8_t* const mask_of = context.workspace.take<std::uint8_t>(partition.windows());
    bias.masks = layer.masks.data();
    bias.mask_of = mask_of;
    if (!context.is_planning()) detail::fill_mask_index(partition, mask_of);
  }
  linear_to_windows<T, Arch>(context, layer.qkv, partition, in, layer.zeros.data(), qkv);
  scaled_dot_product_attention<T, Arch>(context, qkv.column_range(0, width),
                                        qkv.column_range(width, width),
                                        qkv.column_range(2 * width, width), partition.windows(),
                                        layer.heads, attention_scale<T>(width, layer.heads), bias,
                                        attended, nullptr, layer.qkv.weights.precision());
  linear_from_windows<T, Arch>(context, layer.out, partition, attended, out, options);
}

}  // namespace q2l::ops
