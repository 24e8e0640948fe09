// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/kernels/panel_matrix.hpp"

// A product, panel by panel: each panel's chunk of depth stays in the first-level cache while rows
// pass by. The bits are those of matmul_block, which goes tile by tile of rows.

namespace q2l::kernels {

/// Rows of the left operand that `matmul_panels` takes at a time.
inline constexpr std::size_t left_block_rows = 204;

/// Elements of scratch into which `matmul_panels` copies rows.
template <class T>
inline constexpr std::size_t left_block_size = left_block_rows* chunk_depth<T>;

/// True where going panel by panel can be faster: where a panel's chunk stays in the first-level
/// cache while the rows of a block pass by from the second. Narrow weights gain nothing.
template <class T, class Arch, class W>
constexpr bool panel_stays_cached() noexcept {
  using Tile = MatmulTile<T, Arch>;
  constexpr std::size_t first_level = std::size_t{16} << 10;
  return std::is_same_v<T, W> &&
         chunk_depth<W> * Tile::vectors * Tile::lanes * sizeof(W) <= first_level;
}

/// True where it is, for `panels` panels at a time, although the rows must be copied; for weights
/// of which a `panel_stays_cached`. (Measured with AVX2: up to 10 % faster for 16 panels and depths
/// of 192 and more, up to 10 % slower below.)
template <class T, class Arch>
constexpr bool prefers_panels(const PanelLayout<T, Arch>& layout, std::size_t panels) noexcept {
  return panels >= 16 && layout.rows() >= 192;
}

namespace detail {

/// Copies `chunk` of the left rows `own`: one row `chunk_depth<T>` elements after the other, its
/// taps side by side.
template <class T, class Arch, class RowSource>
void copy_left_rows(const RowSource& source, const TileRows& own, const DepthChunk& chunk,
                    T* out) noexcept {
  using Tile = MatmulTile<T, Arch>;
  const T* table[chunk_depth<T> * Tile::rows];
  const std::size_t tiles = (own.count + Tile::rows - 1) / Tile::rows;
  for (std::size_t i = 0; i < tiles; ++i) {
    const TileRows tile = tile_rows(own.first, own.count, i, tiles);
    source.pointers(tile.first, tile.count, chunk.first_tap, chunk.taps, table);
    T* const rows = out + (tile.first - own.first) * chunk_depth<T>;
    for (std::size_t t = 0; t < chunk.taps; ++t) {
      for (std::size_t r = 0; r < tile.count; ++r) {
        std::copy_n(table[t * tile.count + r] + chunk.first_depth, chunk.depth,
                    rows + r * chunk_depth<T> + t * chunk.depth);
      }
    }
  }
}

/// Asks for what `copy_left_rows` copies next: the depth that follows `chunk` in its last tap.
template <class T, std::size_t MostRows, class RowSource>
void prefetch_left_rows(const RowSource& source, const TileRows& rows,
                        const DepthChunk& chunk) noexcept {
  const T* table[MostRows];
  source.pointers(rows.first, rows.count, chunk.first_tap + chunk.taps - 1, 1, table);
  for (std::size_t r = 0; r < rows.count; ++r) {
    const T* const next = table[r] + chunk.first_depth + chunk.depth;
    for (std::size_t k = 0; k < chunk.depth; k += cache_line / sizeof(T)) {
      __builtin_prefetch(next + k, 0, 2);
    }
  }
}

/// Row source over what `copy_left_rows` copied.
template <class T>
struct CopiedRows {
  const T* data;
  std::size_t first_row, stride, depth;

  void pointers(std::size_t first, std::size_t count, std::size_t, std::size_t taps,
                const T** out) const noexcept {
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t r = 0; r < count; ++r) {
        out[t * count + r] = data + (first + r - first_row) * stride + t * depth;
      }
    }
  }
};

/// A chunk of depth of panels `first` .. `last` - 1, and the panel that is read afterwards, or
/// null.
template <class T, class Arch>
struct PanelRange {
  const PanelMatrix<T, Arch>& matrix;
  std::size_t first, last;
  DepthChunk chunk;
  std::size_t chunk_index;
  const T* next;

  [[nodiscard]] PanelChunk<T, T> panel(std::size_t p) const noexcept {
    return panel_chunk(matrix, p, chunk, chunk_index);
  }
};

/// Rows `own` by a range of panels, panel by panel. `left` is the chunk of `rows` that belongs to
/// that of the panels; `out` is where the first results go. Calls `ahead(tile)` with each tile of
/// rows when the last panel is at it.
template <class T, class Arch, class RowSource, class Ahead>
void multiply_panels(const RowSource& rows, const TileRows& own, const DepthChunk& left,
                     const PanelRange<T, Arch>& panels, const Epilogue<T>& epilogue, T* out,
                     std::size_t out_stride, const Ahead& ahead) noexcept {
  using Tile = MatmulTile<T, Arch>;
  const PanelLayout<T, Arch>& layout = panels.matrix.layout;
  const std::size_t tiles = (own.count + Tile::rows - 1) / Tile::rows;
  const T* table[chunk_depth<T> * Tile::rows];
  for (std::size_t p = panels.first; p < panels.last; ++p) {
    const std::size_t column = layout.first_column(p);
    const std::size_t width = layout.first_column(p + 1) - column;
    const bool is_last = p + 1 == panels.last;
    const T* const next = is_last ? panels.next : panels.panel(p + 1).data;
    PanelChunk<T, T> panel = panels.panel(p);
    for (std::size_t i = 0; i < tiles; ++i) {
      const TileRows tile = tile_rows(own.first, own.count, i, tiles);
      if (is_last) ahead(tile);
      rows.pointers(tile.first, tile.count, left.first_tap, left.taps, table);
      panel.next = prefetch_part(next, left.taps * left.depth * width, i, tiles);
      matmul_tile_function<T, T, Arch>(tile.count, width / Tile::lanes)(
          table, left, panel, epilogue.at(tile.first, column),
          out + (tile.first - own.first) * out_stride + column - layout.first_column(panels.first),
          out_stride);
    }
  }
}

}  // namespace detail

/// `matmul_block` of weights that are not narrow, panel by panel: the rows are copied block by
/// block into `scratch`, or, if that is null, read where they lie.
template <class T, class Arch, class RowSource>
void matmul_panels(const RowSource& rows, std::size_t first_row, std::size_t last_row,
                   const PanelMatrix<T, Arch>& b, std::size_t first_panel, std::size_t last_panel,
                   const Epilogue<T>& epilogue, T* out, std::size_t out_stride, T* scratch,
                   const T* following = nullptr) noexcept {
  using Tile = MatmulTile<T, Arch>;
  // Results are read again for each chunk of depth: more columns would leave the cache, with fewer
  // copying rows would not pay.
  constexpr std::size_t group = 1024 / (Tile::vectors * Tile::lanes);
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t blocks = (last_row - first_row + left_block_rows - 1) / left_block_rows;
  const std::size_t groups = (last_panel - first_panel + group - 1) / group;
  for (std::size_t task = 0; task < blocks * groups; ++task) {
    const detail::TileRows own =
        detail::tile_rows(first_row, last_row - first_row, task / groups, blocks);
    const std::size_t begin = first_panel + task % groups * group;
    const std::size_t end = std::min(begin + group, last_panel);
    T* const results = out + (own.first - first_row) * out_stride + layout.first_column(begin) -
                       layout.first_column(first_panel);
    std::size_t chunk_index = 0;
    for_each_depth_chunk<T>(layout.taps, layout.depth, [&](const DepthChunk& chunk) {
      const std::size_t width = layout.first_column(begin + 1) - layout.first_column(begin);
      const T* next = end < last_panel ? b.panel(end) : following;
      if (!chunk.is_last) {
        next = detail::panel_chunk(b, begin, chunk, chunk_index).data +
               chunk.taps * chunk.depth * width;
      }
      const detail::PanelRange<T, Arch> panels{b, begin, end, chunk, chunk_index, next};
      if (scratch) {
        detail::copy_left_rows<T, Arch>(rows, own, chunk, scratch);
        const detail::CopiedRows<T> copies{scratch, own.first, chunk_depth<T>, chunk.depth};
        const DepthChunk copied{0, chunk.taps, 0, chunk.depth, chunk.is_first, chunk.is_last};
        const auto ahead = [&](const detail::TileRows& tile) {
          if (!chunk.is_last) detail::prefetch_left_rows<T, Tile::rows>(rows, tile, chunk);
        };
        detail::multiply_panels(copies, own, copied, panels, epilogue, results, out_stride, ahead);
      } else {
        detail::multiply_panels(rows, own, chunk, panels, epilogue, results, out_stride,
                                [](const detail::TileRows&) {});
      }
      ++chunk_index;
    });
    detail::activate_block<T, Arch>(epilogue, layout, begin, end, own.count, results, out_stride);
  }
}

}  // namespace q2l::kernels
