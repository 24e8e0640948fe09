// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/matmul.hpp"
#include "query2label/simd/amx_tiles.hpp"

namespace q2l::ops {

/// The position-wise network of a transformer layer: linear2(activation(linear1(x))).
template <class T, class Arch>
struct FeedForward {
  Linear<T, Arch> linear1;  ///< D -> F
  Linear<T, Arch> linear2;  ///< F -> D
  Activation activation = Activation::relu();

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("linear1", self.linear1);
    visit("linear2", self.linear2);
  }
};

namespace detail {

/// Calls `body(first, count)` for blocks of rows, of which a hidden layer of `features` T's takes
/// up to 8 MB: all of it may be more than the caches, or than the model. (Smaller ones read weights
/// too often: with AVX2 blocks of 1 MB take up to 14 % longer.) An observer sees all rows at once.
template <class T, class Body>
void for_each_block_of_rows(const Context& context, std::size_t rows, std::size_t features,
                            const Body& body) {
  constexpr std::size_t most_bytes = std::size_t{8} << 20;
  constexpr std::size_t unit = 2 * simd::tile_rows;  // what products go through at a time
  const std::size_t bytes = rows * features * sizeof(T);
  const std::size_t blocks = context.observer ? 1 : bytes / most_bytes + 1;
  const std::size_t block = round_up((rows + blocks - 1) / blocks, unit);
  std::size_t first = 0;
  do {
    const std::size_t count = std::min(block, rows - first);
    body(first, count);
    first += count;
  } while (first < rows);
}

/// `feed_forward` of rows whose hidden layer is taken at once.
template <class T, class Arch, class In>
void feed_forward_block(const Context& context, const FeedForward<T, Arch>& layer, const In& in,
                        Matrix<T> out, const OutputOptions<T>& options) {
  const Workspace::Frame frame(context.workspace);
  const LeftOperand<T, Arch> hidden(context, layer.linear2.weights, shape_of(in).rows);
  linear<T, Arch>(context, layer.linear1, in, hidden, {.activation = layer.activation});
  linear<T, Arch>(context, layer.linear2, hidden, out, options);
}

}  // namespace detail

/// out [M, D] = linear2(activation(linear1(in [M, D]))) plus the residual of `options`. Error: that
/// of two `linear` and the activation between them. Throws Error bad_argument when shapes do not
/// fit.
template <class T, class Arch>
void feed_forward(const Context& context, const FeedForward<T, Arch>& layer, Matrix<const T> in,
                  Matrix<T> out, const OutputOptions<T>& options = {}) {
  require_equal(out.rows, in.rows, "feed_forward: rows of out");
  if (options.residual.data) {
    require_equal(options.residual.rows, in.rows, "feed_forward: rows of residual");
  }
  detail::for_each_block_of_rows<T>(
      context, in.rows, layer.linear1.out_features(), [&](std::size_t first, std::size_t count) {
        OutputOptions<T> own = options;
        if (own.residual.data) own.residual = own.residual.row_range(first, count);
        detail::feed_forward_block<T, Arch>(context, layer, in.row_range(first, count),
                                            out.row_range(first, count), own);
      });
}

/// x [M, D] += layer(norm(x)). Error: that of `layer_norm` and `feed_forward`. Throws Error
/// bad_argument when shapes do not fit.
template <class T, class Arch>
void norm_feed_forward(const Context& context, const LayerNorm<T>& norm,
                       const FeedForward<T, Arch>& layer, Matrix<T> x) {
  detail::for_each_block_of_rows<T>(
      context, x.rows, layer.linear1.out_features(), [&](std::size_t first, std::size_t count) {
        const Workspace::Frame frame(context.workspace);
        const Matrix<T> own = x.row_range(first, count);
        const LeftOperand<T, Arch> normed(context, layer.linear1.weights, count);
        layer_norm<T, Arch>(context, norm, own, normed);
        detail::feed_forward_block<T, Arch>(context, layer, normed, own, {.residual = own});
      });
}

}  // namespace q2l::ops
