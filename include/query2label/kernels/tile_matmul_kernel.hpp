// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

// The narrow product on tile registers, by panels as the others read them.

namespace q2l::kernels {

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

/// A pair of tiles of columns in a chunk of a panel, `width` columns wide.
template <class W>
struct ColumnTiles {
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

/// Sums of one or two tiles of rows by one or two of columns over a chunk of depth.
template <bool HasTwoRows, bool HasTwoColumns, class W, class Tiles, class Left>
[[gnu::noinline]] void add_tiles(Tiles& tiles, const TiledRows<Left>& rows, const Left* first,
                                 const Left* second, const DepthChunk& chunk,
                                 const ColumnTiles<W>& columns) noexcept {
  constexpr std::size_t group = 4 / sizeof(W);
  constexpr std::size_t step = simd::tile_bytes / sizeof(W);
  constexpr std::size_t tile = simd::tile_rows * group;  // elements from one to the next
  const std::size_t left_stride = rows.row_stride * sizeof(Left);
  const std::size_t right_stride = columns.width * group * sizeof(W);
  tiles.zero_sums();
  for (std::size_t t = 0; t < chunk.taps; ++t) {
    const std::size_t tap = rows.tap(chunk.first_tap + t) + chunk.first_depth;
    for (std::size_t k = 0; k < chunk.depth; k += step) {
      const W* const right = columns.rows(t, k, t * chunk.depth + k);
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
    }
  }
}

/// Asks for part `i` of `parts` of two tiles of columns, `groups` groups of depth.
template <class W>
void prefetch_tiles(const W* columns, std::size_t width, std::size_t groups, std::size_t i,
                    std::size_t parts) noexcept {
  if (columns == nullptr) return;
  const auto* const lines = reinterpret_cast<const std::byte*>(columns);
  for (std::size_t g = groups * i / parts; g < groups * (i + 1) / parts; ++g) {
    __builtin_prefetch(lines + g * width * 4, 0, 2);
    __builtin_prefetch(lines + g * width * 4 + cache_line, 0, 2);
  }
}

/// One row of results from its sums: `Vectors` vectors of columns, of which the last holds `tail`.
template <std::size_t Vectors, class Arch, class T, class W, class Sum>
[[gnu::always_inline]] inline void finish_row(const Epilogue<T>& epilogue, const DepthChunk& chunk,
                                              const PanelChunk<T, W>& panel, std::size_t column,
                                              const Sum* sums, std::size_t tail, T* out) noexcept {
  using B = simd::Batch<T, Arch>;
  using Dots = simd::Batch<Sum, Arch>;
  constexpr std::size_t lanes = B::size;
  const auto load = [tail](const T* p, std::size_t v) {
    if (v + 1 < Vectors || tail == lanes) return B::load_unaligned(p + v * lanes);
    return simd::load_partial<T, Arch>(p + v * lanes, tail);
  };
  Dots dots[1][Vectors];
  Q2L_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) {
    dots[0][v] = Dots::load_aligned(sums + v * lanes);
    if constexpr (std::is_same_v<Sum, std::int32_t>) {
      if (panel.correction) {
        dots[0][v] += Dots::load_unaligned(panel.correction + column + v * lanes);
      }
    }
  }
  B results[1][Vectors];
  scale_tile<T, Arch>(epilogue, chunk.is_first, panel.scale + column, dots, results);
  finish_tile<T, Arch>(epilogue, chunk, tail, load, results, out, 0);
}

/// `finish_row` of `vectors` <= Most vectors.
template <std::size_t Most, class Arch, class... Arguments>
void finish_columns(std::size_t vectors, const Arguments&... arguments) noexcept {
  if constexpr (Most > 1) {
    if (vectors < Most) return finish_columns<Most - 1, Arch>(vectors, arguments...);
  }
  finish_row<Most, Arch>(arguments...);
}

/// Tiles `i` and, before `end_tile`, `i` + 1 of rows by the tiles of columns that begin at column
/// `begin` of the panel. The epilogue is that of the panel; `out` is where its first result in tile
/// `i` goes.
template <class Arch, class T, class W, class Tiles, class Left>
void multiply_tile_pair(Tiles& tiles, const TiledRows<Left>& rows, std::size_t i,
                        std::size_t end_tile, const DepthChunk& chunk,
                        const PanelChunk<T, W>& panel, std::size_t begin,
                        const ColumnTiles<W>& right, const Epilogue<T>& epilogue, T* out,
                        std::size_t out_stride) noexcept {
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  constexpr std::size_t side = simd::tile_rows;
  static_assert(side % lanes == 0);
  const bool has_two_rows = i + 1 < end_tile;
  const std::size_t columns = std::min(2 * side, panel.columns - begin);
  const std::size_t first_row = rows.first_row(i);
  const std::size_t middle = rows.first_row(i + 1) - first_row;
  const std::size_t end = has_two_rows ? rows.first_row(i + 2) - first_row : middle;
  const Epilogue<T> own = epilogue.at(first_row, begin);
  prefetch_results(own, chunk, end, columns, out + begin, out_stride);
  const Left* const second = has_two_rows ? rows.tile(i + 1) : nullptr;
  if (right.width - begin > side) {
    has_two_rows ? add_tiles<true, true>(tiles, rows, rows.tile(i), second, chunk, right)
                 : add_tiles<false, true>(tiles, rows, rows.tile(i), second, chunk, right);
  } else {
    has_two_rows ? add_tiles<true, false>(tiles, rows, rows.tile(i), second, chunk, right)
                 : add_tiles<false, false>(tiles, rows, rows.tile(i), second, chunk, right);
  }
  alignas(cache_line) typename Tiles::Sum sums[2 * side][2 * side];
  tiles.store_sums(&sums[0][0]);

  const std::size_t vectors = (columns + lanes - 1) / lanes;
  const std::size_t tail = columns - (vectors - 1) * lanes;
  for (std::size_t r = 0; r < end; ++r) {
    finish_columns<2 * side / lanes, Arch>(vectors, own.at(r, 0), chunk, panel, begin,
                                           sums[r < middle ? r : r - middle + side], tail,
                                           out + r * out_stride + begin);
  }
}

}  // namespace detail

/// Tiles `first_tile` .. `last_tile` - 1 of rows and panels `first_panel` .. `last_panel` - 1 of
/// out = rows B, as `matmul_block`, and with its bits in int8. In bf16 sums are not cut into
/// chains.
template <class T, class Arch, class W, class Tiles, class Left>
void matmul_tiles(Tiles& tiles, const TiledRows<Left>& rows, std::size_t first_tile,
                  std::size_t last_tile, const PanelMatrix<T, Arch, W>& b, std::size_t first_panel,
                  std::size_t last_panel, const Epilogue<T>& epilogue, T* out,
                  std::size_t out_stride) noexcept {
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  constexpr std::size_t side = simd::tile_rows;
  constexpr std::size_t group = 4 / sizeof(W);
  constexpr std::size_t step = simd::tile_bytes / sizeof(W);
  // A chunk of the block's rows stays in the second-level cache while the panels pass by.
  constexpr std::size_t block_tiles = 32;
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t first_row = rows.first_row(first_tile);
  const std::size_t first_column = layout.first_column(first_panel);
  alignas(cache_line) W end_rows[2 * step * MatmulTile<T, Arch>::vectors * lanes];

  for (std::size_t block = first_tile; block < last_tile; block += block_tiles) {
    const std::size_t block_end = std::min(block + block_tiles, last_tile);
    std::size_t chunk_index = 0;
    for_each_depth_chunk<W>(layout.taps, layout.depth, [&](const DepthChunk& chunk) {
      // A tap's last rows are read as a whole tile, whatever follows them: left rows have zeros
      // there. Where a tile would end behind the panel, a copy with zeros behind it is read.
      const std::size_t chunk_rows = chunk.taps * chunk.depth;
      const std::size_t rows_left =
          layout.rows() - chunk.first_tap * layout.depth - chunk.first_depth;
      const std::size_t first_end_row = rows_left < step ? 0 : rows_left - step + group;
      const std::size_t end_size = rows_left - first_end_row;
      const bool has_end = chunk.depth % step > 0 && first_end_row < chunk_rows;
      for (std::size_t p = first_panel; p < last_panel; ++p) {
        const std::size_t column = layout.first_column(p);
        const std::size_t width = layout.first_column(p + 1) - column;
        const PanelChunk<T, W> panel = detail::panel_chunk(b, p, chunk, chunk_index);
        if (has_end) {
          std::fill(std::copy_n(panel.data + first_end_row * width, end_size * width, end_rows),
                    std::end(end_rows), W{});
        }
        for (std::size_t v = 0; v < width; v += 2 * side) {
          const W* const next = v + 2 * side < width ? panel.data + (v + 2 * side) * group
                                : p + 1 < last_panel
                                    ? detail::panel_chunk(b, p + 1, chunk, chunk_index).data
                                    : nullptr;
          const detail::ColumnTiles<W> right{panel.data + v * group, panel.tap_stride, width,
                                             has_end ? first_end_row : chunk_rows,
                                             end_rows + v * group};
          for (std::size_t i = block; i < block_end; i += 2) {
            detail::prefetch_tiles(next, width, chunk.taps * chunk.depth / group, (i - block) / 2,
                                   (block_end - block + 1) / 2);
            T* const results = out + (rows.first_row(i) - first_row) * out_stride;
            detail::multiply_tile_pair<Arch>(tiles, rows, i, block_end, chunk, panel, v, right,
                                             epilogue.at(0, column),
                                             results + column - first_column, out_stride);
          }
        }
      }
      ++chunk_index;
    });
    const std::size_t row = rows.first_row(block);
    detail::activate_block<T, Arch>(epilogue, layout, first_panel, last_panel,
                                    rows.first_row(block_end) - row,
                                    out + (row - first_row) * out_stride, out_stride);
  }
}

}  // namespace q2l::kernels
