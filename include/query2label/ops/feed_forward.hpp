// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/linear.hpp"

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

/// out [M, D] = linear2(activation(linear1(in [M, D]))) plus the residual of `options`. `in` may be
/// the LeftOperand of linear1. Error: that of two `linear` and the activation between them. Throws
/// Error bad_argument when shapes do not fit.
template <class T, class Arch, class In = Matrix<const T>>
void feed_forward(const Context& context, const FeedForward<T, Arch>& layer, const In& in,
                  Matrix<T> out, const OutputOptions<T>& options = {}) {
  const Workspace::Frame frame(context.workspace);
  const LeftOperand<T, Arch> hidden(context, layer.linear2.weights, shape_of(in).rows);
  linear<T, Arch>(context, layer.linear1, in, hidden, {.activation = layer.activation});
  linear<T, Arch>(context, layer.linear2, hidden, out, options);
}

/// x [M, D] += layer(norm(x)). Error: that of `layer_norm` and `feed_forward`. Throws Error
/// bad_argument when shapes do not fit.
template <class T, class Arch>
void norm_feed_forward(const Context& context, const LayerNorm<T>& norm,
                       const FeedForward<T, Arch>& layer, Matrix<T> x) {
  const Workspace::Frame frame(context.workspace);
  const LeftOperand<T, Arch> normed(context, layer.linear1.weights, x.rows);
  layer_norm<T, Arch>(context, norm, x, normed);
  feed_forward<T, Arch>(context, layer, normed, x, {.residual = x});
}

}  // namespace q2l::ops
