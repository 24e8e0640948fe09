// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/amx_tiles.hpp"

// How operands lie in memory for products on tile registers.

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
};

}  // namespace q2l::kernels
