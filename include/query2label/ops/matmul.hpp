// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/ops/packed_weights.hpp"
#include "query2label/simd/amx_tiles.hpp"

namespace q2l::ops {

/// What an op does besides its product: out = activation(product + bias + residual).
template <class T>
struct OutputOptions {
  Activation activation = {};
  Matrix<const T> residual = {};  ///< same shape as the output; none when data is null
};

namespace detail {

/// How a product is shared out: `rows` x `columns` tasks.
struct ProductTasks {
  std::size_t rows, columns;
};

/// Tasks of at least `smallest` multiply-adds. Large weights are split by columns, so that each is
/// read from memory once; large inputs by rows, of which no part is smaller than a register tile.
template <class T, class Arch>
ProductTasks share_out(const kernels::PanelLayout<T, Arch>& layout, std::size_t rows,
                       std::size_t row_tiles, std::size_t workers, std::size_t smallest) {
  constexpr std::size_t most_tasks = 32;
  const std::size_t tasks = std::clamp<std::size_t>(
      rows * layout.columns * layout.rows() / smallest, 1, workers > 1 ? most_tasks : 1);
  if (layout.columns * layout.taps > rows) {
    const std::size_t columns = std::min(tasks, layout.panels());
    return {std::min((tasks + columns - 1) / columns, row_tiles), columns};
  }
  const std::size_t row_tasks = std::min(tasks, row_tiles);
  return {row_tasks, std::min((tasks + row_tasks - 1) / row_tasks, layout.panels())};
}

/// The product of rows that need no conversion.
template <class T, class Arch, class W, class RowSource>
void multiply_rows(const Context& context, const RowSource& rows,
                   const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                   const OutputOptions<T>& options, Matrix<T> out) {
  using Tile = kernels::MatmulTile<T, Arch>;
  const kernels::PanelLayout<T, Arch>& layout = b.layout;
  // A task of 256 K multiply-adds runs some 10 us, far longer than handing it out.
  constexpr std::size_t smallest_task = std::size_t{1} << 18;
  const std::size_t row_tiles = (out.rows + Tile::rows - 1) / Tile::rows;
  const ProductTasks tasks = share_out(layout, out.rows, row_tiles, context.workers, smallest_task);
  const kernels::Epilogue<T> epilogue{bias, options.residual.data, options.residual.stride,
                                      options.activation};
  const bool packs = kernels::prefers_packed_block(b, layout.panels() / tasks.columns);
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  constexpr std::size_t block_size = kernels::left_block_size<W>;
  const Workspace::Frame frame(context.workspace);
  Left* const scratch =
      packs ? context.workspace.template take<Left>(context.workers * block_size) : nullptr;
  if (context.is_planning()) return;
  context.parallel_for(tasks.rows * tasks.columns, [&](std::size_t task, std::size_t worker) {
    const std::size_t r = task % tasks.rows;
    const std::size_t c = task / tasks.rows;
    const std::size_t first_row = std::min(row_tiles * r / tasks.rows * Tile::rows, out.rows);
    const std::size_t last_row = std::min(row_tiles * (r + 1) / tasks.rows * Tile::rows, out.rows);
    const std::size_t first_panel = layout.panels() * c / tasks.columns;
    const std::size_t last_panel = layout.panels() * (c + 1) / tasks.columns;
    if (packs) {
      kernels::matmul_packed_block<T, Arch>(rows, first_row, last_row, b, first_panel, last_panel,
                                            epilogue, out.data, out.stride,
                                            scratch + worker * block_size);
    } else {
      kernels::matmul_block<T, Arch>(rows, first_row, last_row, b, first_panel, last_panel,
                                     epilogue, out.data, out.stride);
    }
  });
}

/// `count` rows of one tap as left operands of `b`, in workspace memory: each followed by zeros up
/// to a multiple of `unit` elements, and all by room for `spare` more.
template <class T, class Arch, class W, class RowSource>
auto convert_rows(const Context& context, const kernels::PanelMatrix<T, Arch, W>& b,
                  const RowSource& rows, std::size_t count, std::size_t unit, std::size_t spare) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  constexpr std::size_t block = simd::tile_rows;
  const std::size_t depth = b.layout.depth;
  const std::size_t stride = round_up(depth, unit);
  const Matrix<Left> out(context.workspace.template take<Left>((count + spare) * stride), count,
                         depth, stride);
  if (context.is_planning()) return out;
  context.parallel_for((count + block - 1) / block, [&](std::size_t task, std::size_t) {
    const T* table[block];
    const std::size_t first = task * block;
    const std::size_t own = std::min(block, count - first);
    rows.pointers(first, own, 0, 1, table);
    for (std::size_t i = 0; i < own; ++i) {
      Left* const to = out.row(first + i);
      kernels::convert_left_row(b, table[i], depth, to);
      std::fill_n(to + depth, stride - depth, Left{});
    }
  });
  return out;
}

/// The pixels of a map as left operands of `b`, in workspace memory, with a pixel of zeros behind
/// them.
template <class T, class Arch, class W>
auto convert_pixels(const Context& context, const kernels::PanelMatrix<T, Arch, W>& b,
                    Matrix<const T> pixels) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  const Matrix<Left> out =
      context.workspace.template take_matrix<Left>(pixels.rows + 1, pixels.columns);
  if (context.is_planning()) return out;
  constexpr std::size_t block = 64;
  context.parallel_for((pixels.rows + block - 1) / block, [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min((task + 1) * block, pixels.rows);
    for (std::size_t i = task * block; i < end; ++i) {
      kernels::convert_left_row(b, pixels.row(i), pixels.columns, out.row(i));
    }
  });
  const T zero(0);
  Left narrow_zero;
  kernels::convert_left_row(b, &zero, 1, &narrow_zero);
  std::fill_n(out.row(pixels.rows), pixels.columns, narrow_zero);
  return out;
}

/// The product on tile registers.
template <class T, class Arch, class W, class Left>
void multiply_tiles(const Context& context, const kernels::TiledRows<Left>& rows,
                    const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                    const OutputOptions<T>& options, Matrix<T> out) {
  if (context.is_planning()) return;
  constexpr std::size_t smallest_task = std::size_t{1} << 21;  // some microseconds
  const std::size_t pairs = (rows.tiles() + 1) / 2;
  const ProductTasks tasks = share_out(b.layout, out.rows, pairs, context.workers, smallest_task);
  const kernels::Epilogue<T> epilogue{bias, options.residual.data, options.residual.stride,
                                      options.activation};
  context.parallel_for(tasks.rows * tasks.columns, [&](std::size_t task, std::size_t) {
    const std::size_t r = task % tasks.rows;
    const std::size_t c = task / tasks.rows;
    const auto first_tile = [&](std::size_t i) {
      return std::min(pairs * i / tasks.rows * 2, rows.tiles());
    };
    simd::AmxTiles<W> tiles;
    kernels::matmul_tiles<T, Arch>(
        tiles, rows, first_tile(r), first_tile(r + 1), b, b.layout.panels() * c / tasks.columns,
        b.layout.panels() * (c + 1) / tasks.columns, epilogue, out.data, out.stride);
  });
}

/// The product of rows that are converted first.
template <class T, class Arch, class W, class RowSource>
void convert_and_multiply(const Context& context, const RowSource& rows,
                          const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                          const OutputOptions<T>& options, Matrix<T> out) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  const Workspace::Frame frame(context.workspace);
  const bool is_one_tap = b.layout.taps == 1;
  if constexpr (simd::has_amx<T, W, Arch>) {
    if (is_one_tap) {
      // The last tile is read to its end.
      const Matrix<Left> narrow = convert_rows(
          context, b, rows, out.rows, simd::tile_bytes / sizeof(Left), simd::tile_rows - 1);
      return multiply_tiles(
          context, kernels::TiledRows<Left>{narrow.data, 1, out.rows, narrow.stride, 0, 1, 0}, b,
          bias, options, out);
    }
    if constexpr (requires { rows.tiled(context, b); }) {
      return multiply_tiles(context, rows.tiled(context, b), b, bias, options, out);
    }
  }
  if constexpr (requires { rows.pixels(); }) {
    if (!is_one_tap) {
      const Matrix<const Left> narrow = convert_pixels(context, b, rows.pixels());
      const Left* const zeros = narrow.row(narrow.rows - 1);
      return multiply_rows<T, Arch>(context, rows.over(narrow.data, zeros), b, bias, options, out);
    }
  }
  const Matrix<Left> narrow = convert_rows(context, b, rows, out.rows, 1, 0);
  multiply_rows<T, Arch>(context, kernels::StridedRows<Left>{narrow.data, narrow.stride}, b, bias,
                         options, out);
}

}  // namespace detail

/// out [M, N] = activation(rows B + bias + residual), split over threads by output tiles.
/// `rows` is a row source of the product kernel giving M rows, `bias` has padded_columns elements
/// or is null. A left operand that B wants in another form is converted once, before the product;
/// that of several taps by its `pixels()`, and read by the row source `over` those.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch, class W, class RowSource>
void matmul(const Context& context, const RowSource& rows,
            const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
            const OutputOptions<T>& options, Matrix<T> out) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  require_equal(out.columns, b.layout.columns, "matmul: columns of out");
  if (options.residual.data) {
    require_equal(options.residual.rows, out.rows, "matmul: rows of residual");
    require_equal(options.residual.columns, out.columns, "matmul: columns of residual");
  }
  if (out.rows == 0 || out.columns == 0) return;

  if constexpr (!std::is_same_v<Left, T> || std::is_same_v<T, double>) {
    if (!std::is_same_v<Left, T> || b.rounding != Precision::f32) {
      return detail::convert_and_multiply(context, rows, b, bias, options, out);
    }
  }
  if constexpr (std::is_same_v<Left, T>) {
    detail::multiply_rows<T, Arch>(context, rows, b, bias, options, out);
  }
}

/// The same with weights packed at load, in whatever precision they have, and their bias.
template <class T, class Arch, class RowSource>
void matmul(const Context& context, const RowSource& rows, const PackedWeights<T, Arch>& weights,
            const OutputOptions<T>& options, Matrix<T> out) {
  weights.visit([&](const auto& panels) {
    matmul<T, Arch>(context, rows, panels, weights.bias(), options, out);
  });
}

/// Packs a right operand found only while running (the tokens of an image) into `target`
/// (layout.size() elements); element (k, n) is `source[k * depth_stride + n * column_stride]`.
template <class T, class Arch>
void pack_operand(const Context& context, const kernels::PanelLayout<T, Arch>& layout,
                  const T* source, std::size_t depth_stride, std::size_t column_stride, T* target) {
  if (context.is_planning()) return;
  context.parallel_for(layout.panels(), [&](std::size_t p, std::size_t) {
    kernels::pack_panels<T, Arch>(
        layout, kernels::PanelSource<T>{source, 0, depth_stride, column_stride}, target, p, p + 1);
  });
}

}  // namespace q2l::ops
