// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/row_softmax_kernel.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/dot_product.hpp"

// One head of attention in bf16: queries, keys, values and attention weights are rounded to
// bfloat16, sums and softmax are float.

namespace q2l::kernels {

/// In place of tile registers: products on vector registers.
struct NoTiles {};

/// Keys and values of one head as right operands, and room for a block of left ones. `Tiles` are
/// simd::AmxTiles<bfloat16>, or NoTiles; then queries and weights stay float on processors that do
/// not multiply bfloat16, where float's own attention is as fast.
template <class Arch, class Tiles>
class Bfloat16Attention {
 public:
  using Layout = PanelLayout<float, Arch>;
  static constexpr bool has_tiles = !std::is_same_v<Tiles, NoTiles>;
  using Left = std::conditional_t<has_tiles, bfloat16,
                                  typename simd::DotProduct<float, bfloat16, Arch>::Left>;

  /// Queries of a block: two pairs of tiles, or eight register tiles.
  static constexpr std::size_t block_rows =
      has_tiles ? 4 * simd::tile_rows : 8 * MatmulTile<float, Arch>::rows;

  /// What it works in, of `right_size`, `left_size` and `ones_size` elements; all `ones` are 1.
  struct Memory {
    bfloat16* right;
    Left* left;
    const float* ones;
  };

  Bfloat16Attention(std::size_t tokens, std::size_t width) noexcept
      : keys_{1, round_up(width, step), tokens, panel_vectors},
        values_{1, round_up(tokens, step), width, panel_vectors} {}

  /// Keys, values, and two rows of them while they are packed.
  [[nodiscard]] std::size_t right_size() const noexcept {
    return keys_.size() + values_.size() + 2 * std::max(keys_.depth, values_.padded_columns());
  }
  /// The last tile is read to its end.
  [[nodiscard]] std::size_t left_size() const noexcept {
    return (block_rows + (has_tiles ? simd::tile_rows : 0)) *
           std::max(left_stride(keys_), left_stride(values_));
  }
  [[nodiscard]] std::size_t ones_size() const noexcept {
    return std::max(keys_.padded_columns(), values_.padded_columns());
  }

  /// Packs `k` and `v` [tokens, width].
  void pack(Matrix<const float> k, Matrix<const float> v, const Memory& memory) const noexcept {
    bfloat16* const values = memory.right + keys_.size();
    bfloat16* const rows = values + values_.size();
    pack_keys(k, rows, memory.right);
    pack_values(v, rows, values);
  }

  /// out = softmax(scale * q k^T + bias) v of `q.rows` <= block_rows queries. `scores` holds the
  /// attention weights afterwards; `bias` has its stride, or is null.
  void multiply(Tiles& tiles, Matrix<const float> q, float scale, const float* bias,
                Matrix<float> scores, Matrix<float> out, const Memory& memory) const noexcept {
    multiply_rows(tiles, q, keys_, memory.right, memory, scores);
    for (std::size_t r = 0; r < q.rows; ++r) {
      softmax_row<float, Arch>(scores.row(r), bias ? bias + r * scores.columns : nullptr, scale,
                               scores.columns);
    }
    multiply_rows(tiles, scores, values_, memory.right + keys_.size(), memory, out);
  }

 private:
  static constexpr std::size_t panel_vectors =
      has_tiles ? tile_panel_vectors<float, Arch> : MatmulTile<float, Arch>::vectors;
  static constexpr std::size_t step = has_tiles ? simd::tile_bytes / sizeof(bfloat16)
                                                : simd::DotProduct<float, bfloat16, Arch>::group;

  /// Elements from one left row of `layout` to the next.
  static constexpr std::size_t left_stride(const Layout& layout) noexcept {
    if constexpr (!has_tiles) return layout.depth;
    return tiled_pixel_bytes(layout.depth * sizeof(Left)) / sizeof(Left);
  }

  /// `in` and zeros up to `padded` elements.
  template <class To>
  static void convert_row(const float* in, std::size_t count, std::size_t padded,
                          To* out) noexcept {
    if constexpr (std::is_same_v<To, float>) {
      std::copy_n(in, count, out);
    } else {
      convert_left_row<bfloat16, Arch>(in, count, {}, out);
    }
    std::fill_n(out + count, padded - count, To{});
  }

  /// Asks for the row that is converted some rows after `r`. Rows of a head lie far apart, and no
  /// processor foresees them.
  static void prefetch_after(Matrix<const float> in, std::size_t r) noexcept {
    constexpr std::size_t ahead = 16;
    if (r + ahead < in.rows) detail::prefetch_rows<false>(in.row(r + ahead), 0, 1, in.columns);
  }

  /// Pairs of neighbours in depth stand together: a key's are neighbours already.
  void pack_keys(Matrix<const float> k, bfloat16* row, bfloat16* out) const noexcept {
    const std::size_t pairs = keys_.depth / 2;
    for (std::size_t p = 0; p < keys_.panels(); ++p) {
      const std::size_t begin = keys_.first_column(p);
      const std::size_t width = keys_.first_column(p + 1) - begin;
      bfloat16* const panel = out + begin * keys_.depth;
      for (std::size_t n = 0; n < width; ++n) {
        const bool is_token = begin + n < k.rows;
        prefetch_after(k, begin + n);
        convert_row(is_token ? k.row(begin + n) : nullptr, is_token ? k.columns : 0, keys_.depth,
                    row);
        for (std::size_t i = 0; i < pairs; ++i) {
          std::memcpy(panel + (i * width + n) * 2, row + 2 * i, 2 * sizeof(bfloat16));
        }
      }
    }
  }

  /// Pairs of values of two tokens stand together.
  void pack_values(Matrix<const float> v, bfloat16* rows, bfloat16* out) const noexcept {
    const std::size_t columns = values_.padded_columns();
    bfloat16* const second = rows + columns;
    for (std::size_t t = 0; t < values_.depth; t += 2) {
      for (std::size_t i = 0; i < 2; ++i) {
        const bool is_token = t + i < v.rows;
        prefetch_after(v, t + i);
        convert_row(is_token ? v.row(t + i) : nullptr, is_token ? v.columns : 0, columns,
                    i == 0 ? rows : second);
      }
      for (std::size_t p = 0; p < values_.panels(); ++p) {
        const std::size_t begin = values_.first_column(p);
        const std::size_t width = values_.first_column(p + 1) - begin;
        bfloat16* const to = out + begin * values_.depth + t * width;
        for (std::size_t n = 0; n < width; ++n) {
          to[2 * n] = rows[begin + n];
          to[2 * n + 1] = second[begin + n];
        }
      }
    }
  }

  static void multiply_rows(Tiles& tiles, Matrix<const float> in, const Layout& layout,
                            const bfloat16* panels, const Memory& memory,
                            Matrix<float> out) noexcept {
    const std::size_t stride = left_stride(layout);
    for (std::size_t r = 0; r < in.rows; ++r) {
      prefetch_after(in, r);
      convert_row(in.row(r), in.columns, layout.depth, memory.left + r * stride);
    }
    const PanelMatrix<float, Arch, bfloat16> right{layout, panels, memory.ones};
    if constexpr (has_tiles) {
      const TiledRows<bfloat16> rows{memory.left, 1, in.rows, stride, 0, 1, 0};
      matmul_tiles<float, Arch>(tiles, rows, 0, rows.tiles(), right, 0, layout.panels(),
                                Epilogue<float>{}, out.data, out.stride);
    } else {
      static_cast<void>(tiles);
      matmul_block<float, Arch>(StridedRows<Left>{memory.left, stride}, 0, in.rows, right, 0,
                                layout.panels(), Epilogue<float>{}, out.data, out.stride);
    }
  }

  Layout keys_;    ///< k^T
  Layout values_;  ///< v
};

}  // namespace q2l::kernels
