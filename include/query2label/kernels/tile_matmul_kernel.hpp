// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

// The narrow product on tile registers, by panels as the others read them.

namespace q2l::kernels {

/// Most vectors of a panel that is read by tiles: two tiles of columns, side by side.
template <class T, class Arch>
inline constexpr std::size_t tile_panel_vectors = std::min(MatmulTile<T, Arch>::vectors,
                                                           2 * simd::tile_rows /
                                                               MatmulTile<T, Arch>::lanes);

/// Most vectors of a panel of narrow weights.
template <class T, class Arch>
inline constexpr std::size_t narrow_panel_vectors =
    simd::has_amx<T, bfloat16, Arch> ? tile_panel_vectors<T, Arch> : MatmulTile<T, Arch>::vectors;

/// Bytes from one pixel of `bytes` bytes to the next, where every `step`th is a left row: padded to
/// whole rows of tiles, but such that the rows of a tile do not share a few sets of the first-level
/// cache (at 4 KiB a product takes twice as long).
constexpr std::size_t tiled_pixel_bytes(std::size_t bytes, std::size_t step = 1) noexcept {
  constexpr std::size_t shared = 512;
  const std::size_t padded = round_up(bytes, simd::tile_bytes);
  return step * padded % shared == 0 ? padded + simd::tile_bytes : padded;
}

/// Left operands of a product, already narrow, that lie evenly: the rows of the product are cut
/// into lines (those of an output map; or all is one line), which no tile crosses, and the rows of
/// a line lie `row_stride` apart. Each tap's elements are padded with zeros to whole `tile_bytes`.
template <class Left>
struct TiledRows {
  const Left* data;
  std::size_t lines, line_rows;  ///< of the product
  std::size_t row_stride, line_stride;
  std::size_t image_lines, image_stride;  ///< lines of an image; from one image to the next
  std::size_t kernel = 1;                 ///< taps of a kernel row
  std::size_t tap_stride = 0, kernel_row_stride = 0;

  [[nodiscard]] std::size_t line_tiles() const noexcept {
    return (line_rows + simd::tile_rows - 1) / simd::tile_rows;
  }
  [[nodiscard]] std::size_t tiles() const noexcept { return lines * line_tiles(); }
  /// Rows of the product before tile `i`.
  [[nodiscard]] std::size_t first_row(std::size_t i) const noexcept {
    return i / line_tiles() * line_rows + line_rows * (i % line_tiles()) / line_tiles();
  }
  [[nodiscard]] const Left* tile(std::size_t i) const noexcept {
    const std::size_t line = i / line_tiles();
    return data + line / image_lines * image_stride + line % image_lines * line_stride +
           (first_row(i) - line * line_rows) * row_stride;
  }
  /// From a row's start to its elements of tap `t`.
  [[nodiscard]] std::size_t tap(std::size_t t) const noexcept {
    return t / kernel * kernel_row_stride + t % kernel * tap_stride;
  }
};

namespace detail {

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
[[gnu::noinline]] void add_tiles(Tiles& tiles, const TiledRows<Left>& rows, const Left* first,
                                 const Left* second, const DepthChunk& chunk,
                                 const PanelTiles<W>& panel, const Prefetch& next) noexcept {
  constexpr std::size_t group = 4 / sizeof(W);
  constexpr std::size_t step = simd::tile_bytes / sizeof(W);
  constexpr std::size_t tile = simd::tile_rows * group;  // elements from one to the next
  const std::size_t left_stride = rows.row_stride * sizeof(Left);
  const std::size_t right_stride = panel.width * group * sizeof(W);
  const std::size_t steps = chunk.taps * ((chunk.depth + step - 1) / step);
  const std::size_t step_lines = (next.lines + steps - 1) / steps;
  const std::byte* line = next.data;
  tiles.zero_sums();
  for (std::size_t t = 0; t < chunk.taps; ++t) {
    const std::size_t tap = rows.tap(chunk.first_tap + t) + chunk.first_depth;
    for (std::size_t k = 0; k < chunk.depth; k += step) {
      const W* const right = panel.rows(t, k, t * chunk.depth + k);
      tiles.load_left_0(first + tap + k, left_stride);
      tiles.load_right_0(right, right_stride);
      tiles.add_00();
      if constexpr (HasTwoRows) {
        tiles.load_left_1(second + tap + k, left_stride);
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
  const auto load = [tail](const T* p, std::size_t v) {
    if (v + 1 < Vectors || tail == lanes) return B::load_unaligned(p + v * lanes);
    return simd::load_partial<T, Arch>(p + v * lanes, tail);
  };
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
  finish_tile<T, Arch>(epilogue, chunk, tail, load, results, out, out_stride);
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

/// Tiles `i` and, before `end_tile`, `i` + 1 of rows by a panel, whose epilogue it is; `out` is
/// where the first result goes.
template <class Arch, class T, class W, class Tiles, class Left>
void multiply_tile_pair(Tiles& tiles, const TiledRows<Left>& rows, std::size_t i,
                        std::size_t end_tile, const DepthChunk& chunk,
                        const PanelChunk<T, W>& panel, const PanelTiles<W>& right,
                        const Epilogue<T>& epilogue, T* out, std::size_t out_stride) noexcept {
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  constexpr std::size_t side = simd::tile_rows;
  static_assert(side % lanes == 0);
  const bool has_two_rows = i + 1 < end_tile;
  const std::size_t first_row = rows.first_row(i);
  const std::size_t middle = rows.first_row(i + 1) - first_row;
  const std::size_t end = has_two_rows ? rows.first_row(i + 2) - first_row : middle;
  const Epilogue<T> own = epilogue.at(first_row, 0);
  if (chunk.is_first) prefetch_results(own, chunk, end, panel.columns, out, out_stride);
  const Left* const first = rows.tile(i);
  const Left* const second = has_two_rows ? rows.tile(i + 1) : nullptr;
  if (right.width > side) {
    has_two_rows ? add_tiles<true, true>(tiles, rows, first, second, chunk, right, panel.next)
                 : add_tiles<false, true>(tiles, rows, first, second, chunk, right, panel.next);
  } else {
    has_two_rows ? add_tiles<true, false>(tiles, rows, first, second, chunk, right, panel.next)
                 : add_tiles<false, false>(tiles, rows, first, second, chunk, right, panel.next);
  }
  alignas(cache_line) typename Tiles::Sum sums[2 * side][2 * side];
  tiles.store_sums(&sums[0][0]);

  const std::size_t vectors = (panel.columns + lanes - 1) / lanes;
  const std::size_t tail = panel.columns - (vectors - 1) * lanes;
  finish_tiles<2 * side / lanes, Arch>(middle, vectors, own, chunk, panel, tail, sums[0], out,
                                       out_stride);
  finish_tiles<2 * side / lanes, Arch>(end - middle, vectors, own.at(middle, 0), chunk, panel, tail,
                                       sums[side], out + middle * out_stride, out_stride);
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
  constexpr std::size_t side = simd::tile_rows;
  constexpr std::size_t group = 4 / sizeof(W);
  constexpr std::size_t step = simd::tile_bytes / sizeof(W);
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
  alignas(cache_line) W end_rows[2 * step * 2 * side];

  for (std::size_t task = 0; task < blocks * groups; ++task) {
    const std::size_t block = first_tile + task / groups * block_tiles;
    const std::size_t block_end = std::min(block + block_tiles, last_tile);
    const std::size_t begin = first_panel + task % groups * panels;
    const std::size_t end = std::min(begin + panels, last_panel);
    std::size_t chunk_index = 0;
    for_each_depth_chunk<W>(layout.taps, layout.depth, depth, [&](const DepthChunk& chunk) {
      // A tap's last rows are read as a whole tile, whatever follows them: left rows have zeros
      // there. Where a tile would end behind the panel, a copy with zeros behind it is read.
      const std::size_t chunk_rows = chunk.taps * chunk.depth;
      const std::size_t rows_left =
          layout.rows() - chunk.first_tap * layout.depth - chunk.first_depth;
      const std::size_t first_end_row = rows_left < step ? 0 : rows_left - step + group;
      const std::size_t end_size = rows_left - first_end_row;
      const bool has_end = chunk.depth % step > 0 && first_end_row < chunk_rows;
      for (std::size_t tile = block; tile < block_end; tile += 2) {
        const std::size_t row = rows.first_row(tile);
        T* const results = out + (row - first_row) * out_stride;
        for (std::size_t p = begin; p < end; ++p) {
          const std::size_t column = layout.first_column(p);
          const std::size_t width = layout.first_column(p + 1) - column;
          assert(width <= 2 * side);
          PanelChunk<T, W> panel = detail::panel_chunk(b, p, chunk, chunk_index);
          if (has_end) {
            std::fill(std::copy_n(panel.data + first_end_row * width, end_size * width, end_rows),
                      std::end(end_rows), W{});
          }
          // What takes this panel's place in the cache: its next chunk, or the next group's panel.
          const W* next = p + panels < last_panel ? b.panel(p + panels) : nullptr;
          if (!chunk.is_last) next = panel.data + chunk_rows * width;
          panel.next = detail::prefetch_part<T>(next, chunk_rows * width, (tile - block) / 2,
                                                (block_end - block + 1) / 2);
          detail::multiply_tile_pair<Arch>(
              tiles, rows, tile, block_end, chunk, panel,
              {panel.data, panel.tap_stride, width, has_end ? first_end_row : chunk_rows, end_rows},
              epilogue.at(0, column), results + column - first_column, out_stride);
        }
        if (chunk.is_last) {
          detail::activate_block<T, Arch>(
              epilogue, layout, begin, end, rows.first_row(std::min(tile + 2, block_end)) - row,
              results + layout.first_column(begin) - first_column, out_stride);
        }
      }
      ++chunk_index;
    });
  }
}

}  // namespace q2l::kernels
