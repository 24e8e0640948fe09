// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/dot_product.hpp"

// A product, tile by tile of rows. kernels/matmul_panels_kernel.hpp goes through it in another
// order.

namespace q2l::kernels {
namespace detail {

/// Columns `column` .. of panel `p` for `chunk`, whose index is `chunk_index`.
template <class T, class Arch, class W>
PanelChunk<T, W> panel_chunk(const PanelMatrix<T, Arch, W>& b, std::size_t p,
                             const DepthChunk& chunk, std::size_t chunk_index) noexcept {
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t column = layout.first_column(p);
  const std::size_t width = layout.first_column(p + 1) - column;
  const std::size_t row = chunk.first_tap * layout.depth + chunk.first_depth;
  return {b.panel(p) + row * width,
          layout.depth * width,
          std::min(width, layout.columns - column),
          b.scale ? b.scale + column : nullptr,
          b.correction ? b.correction + chunk_index * layout.padded_columns() + column : nullptr,
          {}};
}

/// Part `i` of `parts` of the chunk of a panel that begins at `data`.
template <class W>
Prefetch prefetch_part(const W* data, std::size_t elements, std::size_t i,
                       std::size_t parts) noexcept {
  if (data == nullptr) return {};
  const std::size_t lines = elements * sizeof(W) / cache_line;
  const std::size_t begin = lines * i / parts;
  return {reinterpret_cast<const std::byte*>(data) + begin * cache_line,
          lines * (i + 1) / parts - begin};
}

/// The part of a product's rows that a tile computes; parts differ by at most one row.
struct TileRows {
  std::size_t first, count;
};
constexpr TileRows tile_rows(std::size_t first_row, std::size_t row_count, std::size_t i,
                             std::size_t tiles) noexcept {
  const std::size_t begin = row_count * i / tiles;
  return {first_row + begin, row_count * (i + 1) / tiles - begin};
}

/// The activations that are too large for a tile's epilogue, on `rows` finished rows of results in
/// panels `first_panel` .. `last_panel` - 1, the first of them at `out`.
template <class T, class Arch>
void activate_block(const Epilogue<T>& epilogue, const PanelLayout<T, Arch>& layout,
                    std::size_t first_panel, std::size_t last_panel, std::size_t rows, T* out,
                    std::size_t out_stride) noexcept {
  const Activation::Kind kind = epilogue.activation.kind;
  if (kind != Activation::Kind::gelu && kind != Activation::Kind::quick_gelu) return;
  const std::size_t columns =
      std::min(layout.first_column(last_panel), layout.columns) - layout.first_column(first_panel);
  for (std::size_t r = 0; r < rows; ++r) {
    activate_row<T, Arch>(epilogue.activation, out + r * out_stride, columns);
  }
}

}  // namespace detail

/// Rows `first_row` .. `last_row` - 1 and panels `first_panel` .. `last_panel` - 1 of out = A B,
/// tile by tile of rows, which are read where they lie. `rows` is a row source over elements of
/// DotProduct's type `Left`. `out` is where the first of those rows and columns goes; the
/// epilogue's pointers are those of row 0, column 0. The panels from `following` on, if not null,
/// are what is read afterwards.
template <class T, class Arch, class W, class RowSource>
void matmul_block(const RowSource& rows, std::size_t first_row, std::size_t last_row,
                  const PanelMatrix<T, Arch, W>& b, std::size_t first_panel, std::size_t last_panel,
                  const Epilogue<T>& epilogue, T* out, std::size_t out_stride,
                  const W* following = nullptr) noexcept {
  using Tile = MatmulTile<T, Arch>;
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  constexpr std::size_t lanes = Tile::lanes;
  // Six rows of a chunk stay in the first-level cache while a group of panels passes by; the
  // group's chunk stays in the second level while the rows pass by.
  constexpr std::size_t group_bytes = std::size_t{256} << 10;
  const PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t first_column = layout.first_column(first_panel);
  const std::size_t row_count = last_row - first_row;
  const std::size_t tiles = (row_count + Tile::rows - 1) / Tile::rows;
  const std::size_t depth = std::clamp<std::size_t>(layout.rows(), 1, chunk_depth<W>);
  const std::size_t group =
      std::max<std::size_t>(1, group_bytes / (depth * Tile::vectors * lanes * sizeof(W)));
  const Left* table[chunk_depth<T> * Tile::rows];  // narrow weights have at least 4 rows a tap

  for (std::size_t g = first_panel; g < last_panel; g += group) {
    const std::size_t group_end = std::min(g + group, last_panel);
    std::size_t chunk_index = 0;
    for_each_depth_chunk<W>(layout.taps, layout.depth, [&](const DepthChunk& chunk) {
      const std::size_t chunk_rows = chunk.taps * chunk.depth;
      for (std::size_t i = 0; i < tiles; ++i) {
        const detail::TileRows tile = detail::tile_rows(first_row, row_count, i, tiles);
        T* const results = out + (tile.first - first_row) * out_stride;
        rows.pointers(tile.first, tile.count, chunk.first_tap, chunk.taps, table);
        for (std::size_t p = g; p < group_end; ++p) {
          const std::size_t column = layout.first_column(p);
          const std::size_t width = layout.first_column(p + 1) - column;
          PanelChunk<T, W> panel = detail::panel_chunk(b, p, chunk, chunk_index);
          // What takes this panel's place in the cache: its next chunk, the next group's panel, or
          // one of what follows.
          const W* next = following ? following + (b.panel(p) - b.panel(g)) : nullptr;
          if (!chunk.is_last) {
            next = panel.data + chunk_rows * width;
          } else if (p + group < last_panel) {
            next = b.panel(p + group);
          }
          panel.next = detail::prefetch_part(next, chunk_rows * width, i, tiles);
          matmul_tile_function<T, W, Arch>(tile.count, width / lanes)(
              table, chunk, panel, epilogue.at(tile.first, column), results + column - first_column,
              out_stride);
        }
        if (chunk.is_last) {
          detail::activate_block<T, Arch>(epilogue, layout, g, group_end, tile.count,
                                          results + layout.first_column(g) - first_column,
                                          out_stride);
        }
      }
      ++chunk_index;
    });
  }
}

}  // namespace q2l::kernels
