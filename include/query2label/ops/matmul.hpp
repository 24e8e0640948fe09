// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_panels_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/ops/left_operand.hpp"
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

  /// Runs all tasks: `run(r, r_end, c, c_end, worker)` does those of some rows and columns. The
  /// more a thread does at once, the less often it reads rows and weights; so neighbours are done
  /// together until few are left.
  template <class Run>
  void run_on(const Context& context, const Run& run) const {
    context.parallel_for_ranges(rows * columns,
                                [&](std::size_t begin, std::size_t end, std::size_t worker) {
                                  while (begin < end) {
                                    const std::size_t r = begin % rows, c = begin / rows;
                                    if (r == 0 && end - begin >= rows) {
                                      run(0, rows, c, end / rows, worker);
                                      begin = end / rows * rows;
                                    } else {
                                      const std::size_t r_end = std::min(r + end - begin, rows);
                                      run(r, r_end, c, c + 1, worker);
                                      begin += r_end - r;
                                    }
                                  }
                                });
  }
};

/// Tasks of at least `smallest` multiply-adds. Large weights are split by columns, so that each is
/// read from memory once; large inputs by rows, of which no part is smaller than a register tile.
template <class T, class Arch>
ProductTasks share_out(const kernels::PanelLayout<T, Arch>& layout, std::size_t rows,
                       std::size_t row_tiles, std::size_t workers, std::size_t smallest) {
  constexpr std::size_t most_tasks = 64;
  const std::size_t tasks = std::clamp<std::size_t>(
      rows * layout.columns * layout.rows() / smallest, 1, workers > 1 ? most_tasks : 1);
  if (layout.columns * layout.taps > rows) {
    const std::size_t columns = std::min(tasks, layout.panels());
    return {std::min((tasks + columns - 1) / columns, row_tiles), columns};
  }
  const std::size_t row_tasks = std::min(tasks, row_tiles);
  return {row_tasks, std::min((tasks + row_tasks - 1) / row_tasks, layout.panels())};
}

/// A task's part of a product: units of rows (rows, or tiles of them) by panels.
struct ProductPart {
  std::size_t first, last, first_panel, last_panel;
};

/// Columns of results that a task has in its cache before it turns them into left operands.
inline constexpr std::size_t stored_columns = 256;

/// Computes `part` by `multiply(part, out, out_stride)`, straight into `out`. `first_row(unit)` is
/// the first row of a unit.
template <class T, class Arch, class FirstRow, class Multiply>
void multiply_part(const kernels::PanelLayout<T, Arch>& layout, const ProductPart& part,
                   std::size_t, const FirstRow& first_row, const Multiply& multiply,
                   const Matrix<T>& out, T*) {
  const std::size_t column = layout.first_column(part.first_panel);
  multiply(part, out.data + first_row(part.first) * out.stride + column, out.stride);
}
/// The same where another product reads the results: `units` of rows by up to `stored_columns` at a
/// time by way of `scratch`.
template <class T, class Arch, class FirstRow, class Multiply>
void multiply_part(const kernels::PanelLayout<T, Arch>& layout, const ProductPart& part,
                   std::size_t units, const FirstRow& first_row, const Multiply& multiply,
                   const LeftOperand<T, Arch>& out, T* scratch) {
  const std::size_t panels =
      stored_columns / (layout.most_vectors * kernels::MatmulTile<T, Arch>::lanes);
  for (std::size_t unit = part.first; unit < part.last; unit += units) {
    for (std::size_t panel = part.first_panel; panel < part.last_panel; panel += panels) {
      const ProductPart piece{unit, std::min(unit + units, part.last), panel,
                              std::min(panel + panels, part.last_panel)};
      multiply(piece, scratch, stored_columns);
      const std::size_t row = first_row(piece.first);
      const std::size_t column = layout.first_column(piece.first_panel);
      const std::size_t end = std::min(layout.first_column(piece.last_panel), layout.columns);
      out.store(row, column, {scratch, first_row(piece.last) - row, end - column, stored_columns});
    }
  }
}

/// Each thread's scratch for `multiply_part`, for `rows` rows at a time.
template <class T>
class PartScratch {
 public:
  PartScratch(const Context&, const Matrix<T>&, std::size_t) noexcept {}
  template <class Arch>
  PartScratch(const Context& context, const LeftOperand<T, Arch>&, std::size_t rows)
      : size_(rows * stored_columns),
        data_(context.workspace.template take<T>(context.workers * size_)) {}

  [[nodiscard]] T* of(std::size_t worker) const noexcept {
    return size_ > 0 ? data_ + worker * size_ : nullptr;
  }

 private:
  std::size_t size_ = 0;
  T* data_ = nullptr;
};

/// The product of rows of `Left`.
template <class T, class Arch, class W, class RowSource, class Out>
void multiply_rows(const Context& context, const RowSource& rows,
                   const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                   const OutputOptions<T>& options, const Out& out) {
  using Tile = kernels::MatmulTile<T, Arch>;
  const kernels::PanelLayout<T, Arch>& layout = b.layout;
  // A task of 256 K multiply-adds runs some 10 us, far longer than handing it out.
  constexpr std::size_t smallest_task = std::size_t{1} << 18;
  constexpr std::size_t stored_rows = 20 * Tile::rows;  // half a second-level cache of 256 KiB
  const std::size_t count = shape_of(out).rows;
  const std::size_t row_tiles = (count + Tile::rows - 1) / Tile::rows;
  const ProductTasks tasks = share_out(layout, count, row_tiles, context.workers, smallest_task);
  const kernels::Epilogue<T> epilogue{bias, options.residual.data, options.residual.stride,
                                      options.activation};
  constexpr bool may_go_by_panels = kernels::panel_stays_cached<T, Arch, W>();
  constexpr std::size_t block_size = kernels::left_block_size<T>;
  const Workspace::Frame frame(context.workspace);
  T* const blocks = may_go_by_panels && kernels::prefers_panels(layout, layout.panels())
                        ? context.workspace.template take<T>(context.workers * block_size)
                        : nullptr;
  const PartScratch<T> scratch(context, out, stored_rows);
  if (context.is_planning()) return;
  const auto first_row = [&](std::size_t i) {
    return std::min(row_tiles * i / tasks.rows * Tile::rows, count);
  };
  const auto first_panel = [&](std::size_t i) { return layout.panels() * i / tasks.columns; };
  tasks.run_on(context, [&](std::size_t r, std::size_t r_end, std::size_t c, std::size_t c_end,
                            std::size_t worker) {
    const ProductPart whole{first_row(r), first_row(r_end), first_panel(c), first_panel(c_end)};
    const auto multiply = [&](const ProductPart& part, T* results, std::size_t stride) {
      if constexpr (may_go_by_panels) {
        if (kernels::prefers_panels(layout, whole.last_panel - whole.first_panel)) {
          return kernels::matmul_panels<T, Arch>(rows, part.first, part.last, b, part.first_panel,
                                                 part.last_panel, epilogue, results, stride,
                                                 blocks + worker * block_size);
        }
      }
      kernels::matmul_block<T, Arch>(rows, part.first, part.last, b, part.first_panel,
                                     part.last_panel, epilogue, results, stride);
    };
    multiply_part<T, Arch>(
        layout, whole, stored_rows, [](std::size_t row) { return row; }, multiply, out,
        scratch.of(worker));
  });
}

/// The product on tile registers.
template <class T, class Arch, class W, class Left, class Out>
void multiply_rows(const Context& context, const kernels::TiledRows<Left>& rows,
                   const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                   const OutputOptions<T>& options, const Out& out) {
  constexpr std::size_t smallest_task = std::size_t{1} << 21;  // some microseconds
  constexpr std::size_t stored_tiles = 32;                     // as many as matmul_tiles does
  const kernels::PanelLayout<T, Arch>& layout = b.layout;
  const std::size_t pairs = (rows.tiles() + 1) / 2;
  const ProductTasks tasks =
      share_out(layout, shape_of(out).rows, pairs, context.workers, smallest_task);
  const kernels::Epilogue<T> epilogue{bias, options.residual.data, options.residual.stride,
                                      options.activation};
  const Workspace::Frame frame(context.workspace);
  const PartScratch<T> scratch(context, out, stored_tiles * simd::tile_rows);
  if (context.is_planning()) return;
  const auto first_tile = [&](std::size_t i) {
    return std::min(pairs * i / tasks.rows * 2, rows.tiles());
  };
  const auto first_panel = [&](std::size_t i) { return layout.panels() * i / tasks.columns; };
  tasks.run_on(context, [&](std::size_t r, std::size_t r_end, std::size_t c, std::size_t c_end,
                            std::size_t worker) {
    simd::AmxTiles<W> tiles;
    multiply_part<T, Arch>(
        layout, {first_tile(r), first_tile(r_end), first_panel(c), first_panel(c_end)},
        stored_tiles, [&](std::size_t tile) { return rows.first_row(tile); },
        [&](const ProductPart& part, T* results, std::size_t stride) {
          kernels::matmul_tiles<T, Arch>(tiles, rows, part.first, part.last, b, part.first_panel,
                                         part.last_panel, epilogue, results, stride);
        },
        out, scratch.of(worker));
  });
}

/// The product of rows in the form in which B reads them.
template <class T, class Arch, class W, class RowSource, class Out>
void multiply(const Context& context, const RowSource& rows,
              const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
              const OutputOptions<T>& options, const Out& out) {
  const Matrix<T> shape = shape_of(out);
  require_equal(shape.columns, b.layout.columns, "matmul: columns of out");
  if (options.residual.data) {
    require_equal(options.residual.rows, shape.rows, "matmul: rows of residual");
    require_equal(options.residual.columns, shape.columns, "matmul: columns of residual");
  }
  if (shape.rows == 0 || shape.columns == 0) return;
  if constexpr (!std::is_same_v<Out, Matrix<T>>) {
    if (!out.is_narrow()) return multiply_rows<T, Arch>(context, rows, b, bias, options, shape);
    if constexpr (std::is_same_v<T, W>) {  // no weights of a narrow layer: rare
      const Workspace::Frame frame(context.workspace);
      const Matrix<T> results = context.workspace.take_matrix<T>(shape.rows, shape.columns);
      multiply_rows<T, Arch>(context, rows, b, bias, options, results);
      return out.fill(context, kernels::StridedRows<T>{results.data, results.stride});
    }
  }
  multiply_rows<T, Arch>(context, rows, b, bias, options, out);
}

/// Whether left operands of weights of type `W` can be narrow; in double they can be rounded as
/// such.
template <class T, class Arch, class W>
inline constexpr bool reads_narrow =
    !std::is_same_v<typename simd::DotProduct<T, W, Arch>::Left, T> || std::is_same_v<T, double>;

/// The product of narrow rows.
template <class T, class Arch, class W, class Out>
void multiply_narrow(const Context& context, const LeftOperand<T, Arch>& in,
                     const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
                     const OutputOptions<T>& options, const Out& out) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  const Left* const data = in.template data<Left>();
  if constexpr (simd::has_amx<T, W, Arch>) {
    const std::size_t rows = in.map().pixel_count();
    multiply<T, Arch>(context, kernels::TiledRows<Left>{data, 1, rows, in.pixel_stride(), 0, 1, 0},
                      b, bias, options, out);
  } else {
    multiply<T, Arch>(context, kernels::StridedRows<Left>{data, in.pixel_stride()}, b, bias,
                      options, out);
  }
}

/// Calls `body` with the panels that read the narrow operand `in`. Throws Error bad_argument about
/// `op` where `in` was not made for `weights`, read in `form`.
template <class T, class Arch, class Body>
void visit_narrow(const PackedWeights<T, Arch>& weights, const LeftOperand<T, Arch>& in,
                  const LeftOperandForm& form, std::string_view op, const Body& body) {
  weights.visit([&]<class W>(const kernels::PanelMatrix<T, Arch, W>& panels) {
    constexpr bool can_read = reads_narrow<T, Arch, W>;
    require_argument(can_read && in.is_for(weights, form), op,
                     "the left operand was made for another layer");
    if constexpr (can_read) body(panels);
  });
}

}  // namespace detail

/// out [M, N] = activation(rows B + bias + residual), split over threads by output tiles.
/// `rows` is a row source of the product kernel giving M rows, `bias` has padded_columns elements
/// or is null; `out` is a Matrix<T> or the LeftOperand of another product. Rows of one tap that B
/// wants in another form are converted once, before the product.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch, class W, class RowSource, class Out>
void matmul(const Context& context, const RowSource& rows,
            const kernels::PanelMatrix<T, Arch, W>& b, const T* bias,
            const OutputOptions<T>& options, const Out& out) {
  if constexpr (std::is_same_v<typename simd::DotProduct<T, W, Arch>::Left, T>) {
    if (!detail::reads_narrow<T, Arch, W> || b.precision() == Precision::f32) {
      return detail::multiply<T, Arch>(context, rows, b, bias, options, out);
    }
  }
  if constexpr (detail::reads_narrow<T, Arch, W>) {
    assert(b.layout.taps == 1);
    const Workspace::Frame frame(context.workspace);
    const LeftOperand<T, Arch> narrow(context, b.precision(), b.input,
                                      {nullptr, 1, 1, shape_of(out).rows, b.layout.depth},
                                      LeftOperand<T, Arch>::row_form());
    narrow.fill(context, rows);
    detail::multiply_narrow<T, Arch>(context, narrow, b, bias, options, out);
  }
}

/// The same with weights packed at load, in whatever precision they have, and their bias. `rows`
/// may be a LeftOperand made for them.
template <class T, class Arch, class RowSource, class Out>
void matmul(const Context& context, const RowSource& rows, const PackedWeights<T, Arch>& weights,
            const OutputOptions<T>& options, const Out& out) {
  if constexpr (std::is_same_v<RowSource, LeftOperand<T, Arch>>) {
    if (!rows.is_narrow()) {
      const Matrix<const T> plain = rows.map().pixels();
      return matmul<T, Arch>(context, kernels::StridedRows<T>{plain.data, plain.stride}, weights,
                             options, out);
    }
    detail::visit_narrow(weights, rows, rows.row_form(), "matmul", [&](const auto& panels) {
      detail::multiply_narrow<T, Arch>(context, rows, panels, weights.bias(), options, out);
    });
  } else {
    weights.visit([&](const auto& panels) {
      matmul<T, Arch>(context, rows, panels, weights.bias(), options, out);
    });
  }
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
