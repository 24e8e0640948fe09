// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/row_norm_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/ops/left_operand.hpp"

namespace q2l::ops {

/// torch.nn.LayerNorm over the last dimension.
template <class T>
struct LayerNorm {
  SharedBuffer<T> weight;
  SharedBuffer<T> bias;
  T eps = T(1e-5);

  LayerNorm() = default;

  /// `weight_` and `bias_` [D]. Throws Error bad_argument when sizes differ.
  LayerNorm(const SharedBuffer<T>& weight_, const SharedBuffer<T>& bias_, T eps_ = T(1e-5))
      : weight(weight_.copy()), bias(bias_.copy()), eps(eps_) {
    require_equal(bias.size(), weight.size(), "LayerNorm: elements of bias");
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};

/// out [M, D] = layer norm of each row of in [M, D]; `out` may be `in`. Error of an element with
/// the normalised value y: (D + 8) eps (|weight| (a + |y|) + |bias|), where a, the mean of |in|
/// over the row's deviation, is large only where the mean is. Throws Error bad_argument when shapes
/// do not fit.
template <class T, class Arch>
void layer_norm(const Context& context, const LayerNorm<T>& norm, Matrix<const T> in,
                Matrix<T> out) {
  require_equal(in.columns, norm.weight.size(), "layer_norm: columns of in");
  require_equal(out.columns, in.columns, "layer_norm: columns of out");
  require_equal(out.rows, in.rows, "layer_norm: rows of out");
  if (context.is_planning()) return;
  for_each_row(context, in.rows, in.columns, [&](std::size_t r) {
    kernels::layer_norm_row<T, Arch>(in.row(r), norm.weight.data(), norm.bias.data(), norm.eps,
                                     out.row(r), in.columns);
  });
}

/// The same where a product reads the result.
template <class T, class Arch>
void layer_norm(const Context& context, const LayerNorm<T>& norm, Matrix<const T> in,
                const LeftOperand<T, Arch>& out) {
  if (!out.is_narrow()) return layer_norm<T, Arch>(context, norm, in, out.map().pixels());
  require_equal(in.columns, norm.weight.size(), "layer_norm: columns of in");
  require_equal(out.map().channels, in.columns, "layer_norm: columns of out");
  require_equal(out.map().pixel_count(), in.rows, "layer_norm: rows of out");
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> scratch = context.workspace.take_matrix<T>(context.workers, in.columns);
  if (context.is_planning()) return;
  for_each_row(context, in.rows, in.columns, [&](std::size_t r, std::size_t worker) {
    T* const row = scratch.row(worker);
    kernels::layer_norm_row<T, Arch>(in.row(r), norm.weight.data(), norm.bias.data(), norm.eps, row,
                                     in.columns);
    out.store(r, 0, {row, 1, in.columns});
  });
}

}  // namespace q2l::ops
