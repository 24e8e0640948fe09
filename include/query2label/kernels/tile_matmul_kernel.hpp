// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/arch.hpp"

// The narrow product on tile registers, by panels as the others read them.

namespace q2l::kernels {

namespace detail {

/// Two tiles of rows that are neighbours in the product, or one.
template <class Left>
struct TilePair {
  const Left* first;
  const Left* second;            ///< null if there is one
  std::size_t first_row;         ///< of the product
  std::size_t first_rows, rows;  ///< of the first tile, and of both

  /// Tile `i` of `rows` and, before `end`, the next.
  static TilePair of(const TiledRows<Left>& rows, std::size_t i, std::size_t end) noexcept {
    const bool is_pair = i + 1 < end;
    const std::size_t first_row = rows.first_row(i);
    return {rows.tile(i), is_pair ? rows.tile(i + 1) : nullptr, first_row,
            rows.first_row(i + 1) - first_row, rows.first_row(is_pair ? i + 2 : i + 1) - first_row};
  }
};

/// The end of a right operand in a chunk of depth. A tap's last rows are read as a whole tile,
/// whatever follows them: left rows have zeros there. Where a tile would end behind the panel, a
/// copy with zeros behind it is read instead.
template <class W>
struct PanelEnd {
  static constexpr std::size_t group = 4 / sizeof(W);
  static constexpr std::size_t step = simd::tile_bytes / sizeof(W);
  using Copy = W[2 * step * 2 * simd::tile_rows];

  std::size_t first_row;  ///< of the chunk; behind it where it is read as it lies
  std::size_t rows;

  template <class T, class Arch>
  static PanelEnd of(const PanelLayout<T, Arch>& layout, const DepthChunk& chunk) noexcept {
    const std::size_t rows = chunk.taps * chunk.depth;
    const std::size_t left = layout.rows() - chunk.first_tap * layout.depth - chunk.first_depth;
    const std::size_t first = left < step ? 0 : left - step + group;
    if (chunk.depth % step == 0 || first >= rows) return {rows, 0};
    return {first, left - first};
  }
  /// Copies that of a panel whose chunk begins at `data`.
  void copy(const W* data, std::size_t width, Copy& out) const noexcept {
    if (rows == 0) return;
    std::fill(std::copy_n(data + first_row * width, rows * width, out), std::end(out), W{});
  }
};

/// A chunk of a panel `width` columns wide, as tiles read it.
template <class W>
struct PanelTiles {
  const W* data;
  std::size_t tap_stride, width;
  std::size_t first_end_row;  ///< of the chunk: from here on `end` takes the place of `data`
  const W* end;

  /// Group by group, from row `k` of tap `t` on, which is row `row` of the chunk.
  [[nodiscard]] const W* rows(std::size_t t, std::size_t k, std::size_t row) const noexcept {
    return row < first_end_row ? data + t * tap_stride + k * width
                               : end + (row - first_end_row) * width;
  }
};

/// Sums of one or two tiles of rows by one or two of columns over a chunk of depth. `next` is asked
/// for step by step: all at once it would hold up the loads of tiles.
template <bool HasTwoRows, bool HasTwoColumns, class W, class Tiles, class Left>
[[gnu::noinline]] void add_tiles(Tiles& tiles, const TiledRows<Left>& rows,
                                 const TilePair<Left>& pair, const DepthChunk& chunk,
                                 const PanelTiles<W>& panel, const Prefetch& next) noexcept {
  constexpr std::size_t group = 4 / sizeof(W);
  constexpr std::size_t step = simd::tile_bytes / sizeof(W);
  constexpr std::size_t tile = simd::tile_rows * group;  // elements from one to the next
  const std::size_t left_stride = rows.row_stride * sizeof(Left);
  const std::size_t right_stride = panel.width * group * sizeof(W);
  const std::size_t steps = chunk.taps * ((chunk.depth + step - 1) / step);
  const std::size_t step_lines = (next.lines + steps - 1) / steps;
  const std::byte* line = next.data;
  std::size_t kernel_row = chunk.first_tap / rows.kernel;
  std::size_t kernel_column = chunk.first_tap % rows.kernel;
  tiles.zero_sums();
  for (std::size_t t = 0; t < chunk.taps; ++t) {
    const std::size_t tap =
        kernel_row * rows.kernel_row_stride + kernel_column * rows.tap_stride + chunk.first_depth;
    for (std::size_t k = 0; k < chunk.depth; k += step) {
      const W* const right = panel.rows(t, k, t * chunk.depth + k);
      tiles.load_left_0(pair.first + tap + k, left_stride);
      tiles.load_right_0(right, right_stride);
      tiles.add_00();
      if constexpr (HasTwoRows) {
        tiles.load_left_1(pair.second + tap + k, left_stride);
        tiles.add_10();
      }
      if constexpr (HasTwoColumns) {
        tiles.load_right_1(right + tile, right_stride);
        tiles.add_01();
        if constexpr (HasTwoRows) tiles.add_11();
      }
      for (std::size_t i = 0; i < step_lines; ++i, line += cache_line) {
        __builtin_prefetch(line, 0, 2);
      }
    }
    if (++kernel_column == rows.kernel) {
      kernel_column = 0;
      ++kernel_row;
    }
  }
}

/// `Rows` rows of results from their sums: `Vectors` vectors of columns, of which the last holds
/// `tail`.
template <std::size_t Rows, std::size_t Vectors, class Arch, class T, class W, class Sum>
[[gnu::always_inline]] inline void finish_rows(const Epilogue<T>& epilogue, const DepthChunk& chunk,
                                               const PanelChunk<T, W>& panel, std::size_t tail,
                                               const Sum* sums, T* out,
                                               std::size_t out_stride) noexcept {
  using B = simd::Batch<T, Arch>;
  using Dots = simd::Batch<Sum, Arch>;
  constexpr std::size_t lanes = B::size;
  Dots dots[Rows][Vectors];
  Q2L_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) {
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      dots[r][v] = Dots::load_aligned(sums + r * 2 * simd::tile_rows + v * lanes);
    }
    if constexpr (std::is_same_v<Sum, std::int32_t>) {
      if (panel.correction) {
        const Dots correction = Dots::load_unaligned(panel.correction + v * lanes);
        Q2L_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) dots[r][v] += correction;
      }
    }
  }
  B results[Rows][Vectors];
  scale_tile<T, Arch>(epilogue, chunk.is_first, panel.scale, dots, results);
  finish_tile<T, Arch>(epilogue, chunk, tail, results, out, out_stride);
}

/// `rows` rows of results of `vectors` <= Most vectors, from their sums.
template <std::size_t Most, class Arch, class T, class W, class Sum>
[[gnu::noinline]] void finish_tiles(std::size_t rows, std::size_t vectors,
                                    const Epilogue<T>& epilogue, const DepthChunk& chunk,
                                    const PanelChunk<T, W>& panel, std::size_t tail,
                                    const Sum* sums, T* out, std::size_t out_stride) noexcept {
  if constexpr (Most > 1) {
    if (vectors < Most) {
      return finish_tiles<Most - 1, Arch>(rows, vectors, epilogue, chunk, panel, tail, sums, out,
                                          out_stride);
    }
  }
  constexpr std::size_t at_once = 4;
  constexpr std::size_t sums_stride = 2 * simd::tile_rows;
  std::size_t r = 0;
  for (; r + at_once <= rows; r += at_once) {
    finish_rows<at_once, Most, Arch>(epilogue.at(r, 0), chunk, panel, tail, sums + r * sums_stride,
                                     out + r * out_stride, out_stride);
  }
  for (; r < rows; ++r) {
    finish_rows<1, Most, Arch>(epilogue.at(r, 0), chunk, panel, tail, sums + r * sums_stride,
                               out + r * out_stride, out_stride);
  }
}

/// A pair of tiles of rows by a panel, whose epilogue it is; `out` is where the first result goes.
template <class Arch, class T, class W, class Tiles, class Left>
void multiply_tile_pair(Tiles& tiles, const TiledRows<Left>& rows, const TilePair<Left>& pair,
                        const DepthChunk& chunk, const PanelChunk<T, W>& panel,
                        const PanelTiles<W>& right, const Epilogue<T>& epilogue, T* out,
                        std::size_t out_stride) noexcept {
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  constexpr std::size_t side = simd::tile_rows;
  static_assert(side % lanes == 0);
  const Epilogue<T> own = epilogue.at(pair.first_row, 0);
  if (chunk.is_first) prefetch_results(own, chunk, pair.rows, panel.columns, out, out_stride);
  if (right.width > side) {
    pair.second ? add_tiles<true, true>(tiles, rows, pair, chunk, right, panel.next)
                : add_tiles<false, true>(tiles, rows, pair, chunk, right, panel.next);
  } else {
    pair.second ? add_tiles<true, false>(tiles, rows, pair, chunk, right, panel.next)
                : add_tiles<false, false>(tiles, rows, pair, chunk, right, panel.next);
  }
  alignas(cache_line) typename Tiles::Sum sums[2 * side][2 * side];
  tiles.store_sums(&sums[0][0]);

  const std::size_t vectors = (panel.columns + lanes - 1) / lanes;
  const std::size_t tail = panel.columns - (vectors - 1) * lanes;
  const std::size_t middle = pair.first_rows;
  finish_tiles<2 * side / lanes, Arch>(middle, vectors, own, chunk, panel, tail, sums[0], out,
                                       out_stride);
  finish_tiles<2 * side / lanes, Arch>(pair.rows - middle, vectors, own.at(middle, 0), chunk, panel,
                                       tail, sums[side], out + middle * out_stride, out_stride);
}

}  // namespace detail

/// Tiles `first_tile` .. `last_tile` - 1 of rows and panels `first_panel` .. `last_panel` - 1 of
/// out = rows B, as `matmul_block`, and with its bits in int8. In bf16 sums are not cut into
/// chains. Panels are at most two tiles wide.
template <class T, class Arch, class W, class Tiles, class Left>
void matmul_tiles(Tiles& tiles, const TiledRows<Left>& rows, std::size_t first_tile,
                  std::size_t last_tile, const PanelMatrix<T, Arch, W>& b, std::size_t first_panel,
                  std::size_t last_panel, const Epilogue<T>& epilogue, T* out,
                  std::size_t out_stride) noexcept {
  // Two tiles of rows stay close while a group of panels passes by, so that their results are
  // written from left to right; the group's chunk of depth and a block's results stay in the
  // second-level cache while the rows of the block pass by. Chunks of int8 decide its bits.
  constexpr std::size_t block_tiles = 32;
  constexpr std::size_t depth = chunk_depth<W> * (std::is_same_v<W, std::int8_t> ? 1 : 2);
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t panels = 8 * depth / std::min(depth, layout.rows());
  const std::size_t first_row = rows.first_row(first_tile);
  const std::size_t first_column = layout.first_column(first_panel);
  const std::size_t groups = (last_panel - first_panel + panels - 1) / panels;
  const std::size_t blocks = (last_tile - first_tile + block_tiles - 1) / block_tiles;
  alignas(cache_line) typename detail::PanelEnd<W>::Copy end_copy;

  for (std::size_t task = 0; task < blocks * groups; ++task) {
    const std::size_t block = first_tile + task / groups * block_tiles;
    const std::size_t block_end = std::min(block + block_tiles, last_tile);
    const std::size_t begin = first_panel + task % groups * panels;
    const std::size_t end = std::min(begin + panels, last_panel);
    std::size_t chunk_index = 0;
    for_each_depth_chunk<W>(layout.taps, layout.depth, depth, [&](const DepthChunk& chunk) {
      const std::size_t chunk_rows = chunk.taps * chunk.depth;
      const auto panel_end = detail::PanelEnd<W>::of(layout, chunk);
      for (std::size_t tile = block; tile < block_end; tile += 2) {
        const auto pair = detail::TilePair<Left>::of(rows, tile, block_end);
        T* const results = out + (pair.first_row - first_row) * out_stride;
        for (std::size_t p = begin; p < end; ++p) {
          const std::size_t column = layout.first_column(p);
          const std::size_t width = layout.first_column(p + 1) - column;
          assert(width <= 2 * simd::tile_rows);
          PanelChunk<T, W> panel = detail::panel_chunk(b, p, chunk, chunk_index);
          panel_end.copy(panel.data, width, end_copy);
          // What takes this panel's place in the cache: its next chunk, or the next group's panel.
          const W* next = p + panels < last_panel ? b.panel(p + panels) : nullptr;
          if (!chunk.is_last) next = panel.data + chunk_rows * width;
          panel.next = detail::prefetch_part(next, chunk_rows * width, (tile - block) / 2,
                                                (block_end - block + 1) / 2);
          detail::multiply_tile_pair<Arch>(
              tiles, rows, pair, chunk, panel,
              {panel.data, panel.tap_stride, width, panel_end.first_row, end_copy},
              epilogue.at(0, column), results + column - first_column, out_stride);
        }
        if (chunk.is_last) {
          detail::activate_block<T, Arch>(epilogue, layout, begin, end, pair.rows,
                                          results + layout.first_column(begin) - first_column,
                                          out_stride);
        }
      }
      ++chunk_index;
    });
  }
}

}  // namespace q2l::kernels
