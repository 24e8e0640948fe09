// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/row_softmax_kernel.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/simd/amx_tiles.hpp"

// One head of attention in bf16 on tile registers: queries, keys, values and attention weights are
// rounded to bfloat16, sums and softmax are float.

namespace q2l::kernels {

/// Keys and values of one head as right operands, and room for a block of left ones.
template <class Arch>
class TileAttention {
 public:
  using Layout = PanelLayout<float, Arch>;

  /// Queries of a block: two pairs of tiles.
  static constexpr std::size_t block_rows = 4 * simd::tile_rows;

  TileAttention(std::size_t tokens, std::size_t width) noexcept
      : keys_{1, round_up(width, step), tokens}, values_{1, round_up(tokens, step), width} {}

  /// Elements of the memory it works in.
  [[nodiscard]] std::size_t size() const noexcept {
    return keys_.size() + values_.size() + left_size();
  }
  /// Factors of 1 that `multiply` needs.
  [[nodiscard]] std::size_t ones() const noexcept {
    return std::max(keys_.padded_columns(), values_.padded_columns());
  }

  /// Packs `k` and `v` [tokens, width] into `memory`.
  void pack(Matrix<const float> k, Matrix<const float> v, bfloat16* memory) const noexcept {
    bfloat16* const rows = memory + keys_.size() + values_.size();
    pack_keys(k, rows, memory);
    pack_values(v, rows, memory + keys_.size());
  }

  /// out = softmax(scale * q k^T + bias) v of `q.rows` <= block_rows queries. `scores` holds the
  /// attention weights afterwards; `bias` has its stride, or is null.
  template <class Tiles>
  void multiply(Tiles& tiles, Matrix<const float> q, float scale, const float* bias,
                Matrix<float> scores, Matrix<float> out, const float* ones,
                bfloat16* memory) const noexcept {
    bfloat16* const left = memory + keys_.size() + values_.size();
    multiply_rows(tiles, q, keys_, memory, ones, left, scores);
    for (std::size_t r = 0; r < q.rows; ++r) {
      softmax_row<float, Arch>(scores.row(r), bias ? bias + r * scores.columns : nullptr, scale,
                               scores.columns);
    }
    multiply_rows(tiles, scores, values_, memory + keys_.size(), ones, left, out);
  }

 private:
  static constexpr std::size_t step = simd::tile_bytes / sizeof(bfloat16);

  /// The last tile is read to its end. While packing, two rows of keys or values.
  [[nodiscard]] std::size_t left_size() const noexcept {
    return (block_rows + simd::tile_rows) * std::max(keys_.depth, values_.depth);
  }

  /// `in` and zeros up to `padded` elements.
  static void convert_row(const float* in, std::size_t count, std::size_t padded,
                          bfloat16* out) noexcept {
    convert_left_row<bfloat16, Arch>(in, count, {}, out);
    std::fill_n(out + count, padded - count, bfloat16{0});
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

  template <class Tiles>
  static void multiply_rows(Tiles& tiles, Matrix<const float> in, const Layout& layout,
                            const bfloat16* panels, const float* ones, bfloat16* left,
                            Matrix<float> out) noexcept {
    for (std::size_t r = 0; r < in.rows; ++r) {
      convert_row(in.row(r), in.columns, layout.depth, left + r * layout.depth);
    }
    const TiledRows<bfloat16> rows{left, 1, in.rows, layout.depth, 0, 1, 0};
    matmul_tiles<float, Arch>(tiles, rows, 0, rows.tiles(),
                              PanelMatrix<float, Arch, bfloat16>{layout, panels, ones}, 0,
                              layout.panels(), Epilogue<float>{}, out.data, out.stride);
  }

  Layout keys_;    ///< k^T
  Layout values_;  ///< v
};

}  // namespace q2l::kernels
