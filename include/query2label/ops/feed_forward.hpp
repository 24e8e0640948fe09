// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/tensor.hpp"
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

/// out [M, D] = linear2(activation(linear1(in [M, D]))) plus the residual of `options`.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void feed_forward(const Context& context, const FeedForward<T, Arch>& layer, Matrix<const T> in,
                  Matrix<T> out, const OutputOptions<T>& options = {}) {
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> hidden = context.workspace.take_matrix<T>(in.rows, layer.linear1.out_features());
  linear<T, Arch>(context, layer.linear1, in, hidden, {.activation = layer.activation});
  linear<T, Arch>(context, layer.linear2, hidden, out, options);
}

}  // namespace q2l::ops
