// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/ops/packed_weights.hpp"

namespace q2l::ops {

/// What an op does besides its product: out = activation(product + bias + residual).
template <class T>
struct OutputOptions {
  Activation activation = {};
  Matrix<const T> residual = {};  ///< same shape as the output; none when data is null
};

namespace detail {

/// The product of rows that need no conversion.
template <class T, class Arch, class W, class RowSource>
void multiply_rows(const Context& context, const RowSource& rows,
                   const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                   const OutputOptions<T>& options, Matrix<T> out) {
  using Tile = kernels::MatmulTile<T, Arch>;
  const kernels::PanelLayout<T, Arch>& layout = b.layout;
  // A task of 256 K multiply-adds runs some 10 us, far longer than handing it out. Large weights
  // are split by columns, so that each is read from memory once; large inputs by rows.
  constexpr std::size_t smallest_task = std::size_t{1} << 18;
  constexpr std::size_t most_tasks = 32;
  const std::size_t tasks =
      std::clamp<std::size_t>(out.rows * layout.columns * layout.rows() / smallest_task, 1,
                              context.workers > 1 ? most_tasks : 1);
  const std::size_t row_tiles = (out.rows + Tile::rows - 1) / Tile::rows;
  std::size_t column_tasks, row_tasks;
  if (layout.columns * layout.taps > out.rows) {
    column_tasks = std::min(tasks, layout.panels());
    row_tasks = std::min((tasks + column_tasks - 1) / column_tasks, row_tiles);
  } else {
    row_tasks = std::min(tasks, row_tiles);
    column_tasks = std::min((tasks + row_tasks - 1) / row_tasks, layout.panels());
  }
  const kernels::Epilogue<T> epilogue{bias, options.residual.data, options.residual.stride,
                                      options.activation};
  const bool packs = kernels::prefers_packed_block(b, layout.panels() / column_tasks);
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  constexpr std::size_t block_size = kernels::left_block_size<W>;
  const Workspace::Frame frame(context.workspace);
  Left* const scratch =
      packs ? context.workspace.template take<Left>(context.workers * block_size) : nullptr;
  if (context.is_planning()) return;
  context.parallel_for(row_tasks * column_tasks, [&](std::size_t task, std::size_t worker) {
    const std::size_t r = task % row_tasks;
    const std::size_t c = task / row_tasks;
    const std::size_t first_row = std::min(row_tiles * r / row_tasks * Tile::rows, out.rows);
    const std::size_t last_row = std::min(row_tiles * (r + 1) / row_tasks * Tile::rows, out.rows);
    const std::size_t first_panel = layout.panels() * c / column_tasks;
    const std::size_t last_panel = layout.panels() * (c + 1) / column_tasks;
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

/// `in` as the left operand of `b`, in workspace memory, with a row of zeros behind it.
template <class T, class Arch, class W>
auto convert_operand(const Context& context, const kernels::PanelMatrix<T, Arch, W>& b,
                     Matrix<const T> in) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  const Matrix<Left> out = context.workspace.template take_matrix<Left>(in.rows + 1, in.columns);
  if (context.is_planning()) return out;
  const auto convert = [&](const T* row, std::size_t count, Left* to) {
    if constexpr (std::is_same_v<T, double>) {
      kernels::round_left_row(row, count, b.rounding, b.input, to);
    } else {
      kernels::convert_left_row<W, Arch>(row, count, b.input, to);
    }
  };
  constexpr std::size_t task_elements = 16'384;  // some microseconds
  const std::size_t task_rows = std::max<std::size_t>(1, task_elements / in.columns);
  context.parallel_for((in.rows + task_rows - 1) / task_rows, [&](std::size_t task, std::size_t) {
    const std::size_t last = std::min((task + 1) * task_rows, in.rows);
    for (std::size_t r = task * task_rows; r < last; ++r) {
      convert(in.row(r), in.columns, out.row(r));
    }
  });
  const T zero(0);
  convert(&zero, 1, out.row(in.rows));
  std::fill_n(out.row(in.rows), in.columns, *out.row(in.rows));
  return out;
}

}  // namespace detail

/// out [M, N] = activation(rows B + bias + residual), split over threads by output tiles.
/// `rows` is a row source of the product kernel giving M rows, `bias` has padded_columns elements
/// or is null. A left operand that B wants in another form is converted once, before the product.
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
      const Workspace::Frame frame(context.workspace);
      const Matrix<const T> operand = rows.operand(out.rows, b.layout.depth);
      const Matrix<const Left> copy = detail::convert_operand<T, Arch>(context, b, operand);
      const Left* const zeros = copy.data + operand.rows * copy.stride;
      return detail::multiply_rows<T, Arch>(context, rows.over(copy, zeros), b, bias, options, out);
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
