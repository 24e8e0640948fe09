// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

// The one product of the library. Linear layers, convolutions of every size and both products of
// attention are sums over (tap, depth) of left rows times packed panels; only where the left rows
// lie differs, and a row source says that.
//
// Each result is a sum of chains of about `chain_length` fused multiply-adds, added up in the order
// of the panel's rows; the first chain begins with the bias (then the residual). Short chains keep
// the rounding error small: it grows with a chain's length plus their number, not with the product
// of the two (R101's logits on a photo: 3 times closer to the exact ones than with chains of 256).
// Chains depend on taps and depth alone, so neither tiles, threads nor batch position change a bit.

namespace q2l::kernels {

/// A chain of multiply-adds ends at the first block or tap that brings it to this length.
inline constexpr std::size_t chain_length = 64;

/// Elements of depth that one pass over a tile sums: a cache block, and a multiple of the chain.
inline constexpr std::size_t chunk_depth = 256;

/// What happens to a product before and after it is summed.
template <class T>
struct Epilogue {
  const T* bias = nullptr;      ///< padded_columns elements, added first; may be null
  const T* residual = nullptr;  ///< same shape as the result, added second; may be null
  std::size_t residual_stride = 0;
  Activation activation = {};
};

/// The part of (taps, depth) that one pass over the tile sums.
struct DepthChunk {
  std::size_t first_tap, taps, first_depth, depth;
  bool is_first, is_last;
};

/// Rows that lie `stride` apart: the left operand of a linear layer.
template <class T>
struct StridedRows {
  const T* data;
  std::size_t stride;

  /// Writes the address of each of `count` rows from `first`; there is one tap.
  void pointers(std::size_t first, std::size_t count, std::size_t, std::size_t,
                const T** out) const noexcept {
    for (std::size_t r = 0; r < count; ++r) out[r] = data + (first + r) * stride;
  }
};

/// One register tile: out[r, n] for Rows rows and `columns` columns, the last of which lies in the
/// last vector.
/// `rows` holds Rows pointers per tap; `panel` points at the chunk's first row, and one tap's rows
/// lie `tap_stride` elements after the other's.
template <class T, class Arch, std::size_t Rows, std::size_t Vectors>
void matmul_tile(const T* const* rows, const DepthChunk& chunk, const T* panel,
                 std::size_t tap_stride, const Epilogue<T>& epilogue, std::size_t columns, T* out,
                 std::size_t out_stride) noexcept {
  using B = simd::Batch<T, Arch>;
  constexpr std::size_t lanes = B::size;
  assert(columns > (Vectors - 1) * lanes && columns <= Vectors * lanes);
  const std::size_t tail = columns - (Vectors - 1) * lanes;  // valid lanes of the last vector
  const auto load = [tail](const T* p, std::size_t v) {
    if (v + 1 < Vectors || tail == lanes) return B::load_unaligned(p + v * lanes);
    return simd::load_partial<T, Arch>(p + v * lanes, tail);
  };

  B sum[Rows][Vectors];
  if (chunk.is_first) {
    Q2L_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      const B bias = epilogue.bias ? B::load_unaligned(epilogue.bias + v * lanes) : B(T(0));
      Q2L_UNROLL
      for (std::size_t r = 0; r < Rows; ++r) sum[r][v] = bias;
    }
    if (epilogue.residual) {
      Q2L_UNROLL
      for (std::size_t r = 0; r < Rows; ++r) {
        Q2L_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) {
          sum[r][v] += load(epilogue.residual + r * epilogue.residual_stride, v);
        }
      }
    }
  } else {
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = B(T(0));
    }
  }

  alignas(cache_line) T finished[Rows * Vectors * lanes];  // sum of the chains that have ended
  bool has_finished = false;
  std::size_t length = 0;
  for (std::size_t t = 0; t < chunk.taps; ++t) {
    const T* left[Rows];
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) left[r] = rows[t * Rows + r] + chunk.first_depth;
    const T* b = panel + t * tap_stride;
    for (std::size_t begin = 0; begin < chunk.depth; begin += chain_length) {
      if (length >= chain_length) {
        Q2L_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) {
          Q2L_UNROLL
          for (std::size_t v = 0; v < Vectors; ++v) {
            T* const at = finished + (r * Vectors + v) * lanes;
            if (has_finished) sum[r][v] += B::load_aligned(at);
            sum[r][v].store_aligned(at);
            sum[r][v] = B(T(0));
          }
        }
        has_finished = true;
        length = 0;
      }
      const std::size_t end = std::min(begin + chain_length, chunk.depth);
      length += end - begin;
      for (std::size_t k = begin; k < end; ++k, b += Vectors * lanes) {
        B right[Vectors];
        Q2L_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) right[v] = B::load_unaligned(b + v * lanes);
        Q2L_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) {
          const B a(left[r][k]);
          Q2L_UNROLL
          for (std::size_t v = 0; v < Vectors; ++v) {
            sum[r][v] = simd::fma<T, Arch>(a, right[v], sum[r][v]);
          }
        }
      }
    }
  }

  if (has_finished) {
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) {
        sum[r][v] += B::load_aligned(finished + (r * Vectors + v) * lanes);
      }
    }
  }
  if (!chunk.is_first) {
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] += load(out + r * out_stride, v);
    }
  }
  if (chunk.is_last && epilogue.activation.kind == Activation::Kind::leaky_relu) {
    const T slope = static_cast<T>(epilogue.activation.negative_slope);
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = leaky_relu<T, Arch>(sum[r][v], slope);
    }
  }
  Q2L_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    T* row = out + r * out_stride;
    Q2L_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      if (v + 1 < Vectors || tail == lanes) {
        sum[r][v].store_unaligned(row + v * lanes);
      } else {
        simd::store_partial<T, Arch>(row + v * lanes, sum[r][v], tail);
      }
    }
  }
}

template <class T, class Arch>
using MatmulTileFunction = void (*)(const T* const*, const DepthChunk&, const T*, std::size_t,
                                    const Epilogue<T>&, std::size_t, T*, std::size_t) noexcept;

/// matmul_tile for a tile of `rows` x `vectors`, both known only at run time.
template <class T, class Arch>
inline MatmulTileFunction<T, Arch> matmul_tile_function(std::size_t rows,
                                                        std::size_t vectors) noexcept {
  using Tile = MatmulTile<T, Arch>;
  static constexpr auto table = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array{&matmul_tile<T, Arch, I / Tile::vectors + 1, I % Tile::vectors + 1>...};
  }
  (std::make_index_sequence<Tile::rows * Tile::vectors>{});
  return table[(rows - 1) * Tile::vectors + vectors - 1];
}

/// Cuts (taps, depth) into chunks (several taps, or part of one) and calls `body(chunk)` for each
/// in order.
template <class Body>
inline void for_each_depth_chunk(std::size_t taps, std::size_t depth, Body&& body) {
  if (depth > chunk_depth) {
    const std::size_t pieces = (depth + chunk_depth - 1) / chunk_depth;
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t i = 0; i < pieces; ++i) {
        const std::size_t begin = depth * i / pieces;
        const std::size_t end = depth * (i + 1) / pieces;
        body(DepthChunk{t, 1, begin, end - begin, t == 0 && i == 0,
                        t + 1 == taps && i + 1 == pieces});
      }
    }
  } else {
    const std::size_t step = chunk_depth / std::max<std::size_t>(1, depth);
    for (std::size_t t = 0; t < taps; t += step) {
      const std::size_t count = std::min(step, taps - t);
      body(DepthChunk{t, count, 0, depth, t == 0, t + count == taps});
    }
  }
}

/// Rows `first_row` .. `last_row` - 1 and panels `first_panel` .. `last_panel` - 1 of out = A B.
/// `rows.pointers(first, count, first_tap, taps, table)` writes, tap by tap, the addresses of
/// `count` left rows. out[r, n] at `out[r * out_stride + n]`; the epilogue's pointers are those of
/// row 0, column 0.
template <class T, class Arch, class RowSource>
void matmul_block(const RowSource& rows, std::size_t first_row, std::size_t last_row,
                  const PanelMatrix<T, Arch>& b, std::size_t first_panel, std::size_t last_panel,
                  const Epilogue<T>& epilogue, T* out, std::size_t out_stride) noexcept {
  using Tile = MatmulTile<T, Arch>;
  constexpr std::size_t lanes = Tile::lanes;
  // Six rows of a chunk stay in the first-level cache while a group of panels passes by; the
  // group's chunk stays in the second level while the rows pass by.
  constexpr std::size_t group_bytes = std::size_t{256} << 10;
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t row_count = last_row - first_row;
  const std::size_t tiles = (row_count + Tile::rows - 1) / Tile::rows;
  const std::size_t group = std::max<std::size_t>(
      1, group_bytes / (std::min(chunk_depth, layout.rows()) * Tile::vectors * lanes * sizeof(T)));
  const T* table[chunk_depth * Tile::rows];  // a chunk has at most chunk_depth taps

  for (std::size_t g = first_panel; g < last_panel; g += group) {
    const std::size_t group_end = std::min(g + group, last_panel);
    for_each_depth_chunk(layout.taps, layout.depth, [&](const DepthChunk& chunk) {
      for (std::size_t i = 0; i < tiles; ++i) {  // tiles differ by at most one row
        const std::size_t row = first_row + row_count * i / tiles;
        const std::size_t count = first_row + row_count * (i + 1) / tiles - row;
        rows.pointers(row, count, chunk.first_tap, chunk.taps, table);
        for (std::size_t p = g; p < group_end; ++p) {
          const std::size_t column = layout.first_vector(p) * lanes;
          const std::size_t width = layout.first_vector(p + 1) * lanes - column;
          const std::size_t columns = std::min(width, layout.columns - column);
          const T* panel =
              b.panel(p) + (chunk.first_tap * layout.depth + chunk.first_depth) * width;
          Epilogue<T> edge = epilogue;
          if (edge.bias) edge.bias += column;
          if (edge.residual) edge.residual += row * edge.residual_stride + column;
          matmul_tile_function<T, Arch>(count, width / lanes)(
              table, chunk, panel, layout.depth * width, edge, columns,
              out + row * out_stride + column, out_stride);
        }
        const Activation::Kind kind = epilogue.activation.kind;
        if (chunk.is_last &&
            (kind == Activation::Kind::gelu || kind == Activation::Kind::quick_gelu)) {
          const std::size_t column = layout.first_vector(g) * lanes;
          const std::size_t end = std::min(layout.first_vector(group_end) * lanes, layout.columns);
          for (std::size_t r = row; r < row + count; ++r) {
            activate_row<T, Arch>(epilogue.activation, out + r * out_stride + column, end - column);
          }
        }
      }
    });
  }
}

}  // namespace q2l::kernels
