// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>

#include "query2label/core/context.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/matmul.hpp"
#include "query2label/ops/packed_weights.hpp"

namespace q2l::ops {

/// torch.nn.Linear: y = x W^T + b.
template <class T, class Arch>
struct Linear {
  std::string name;  ///< in the checkpoint
  PackedWeights<T, Arch> weights;

  Linear() = default;

  /// `weight` [out_features, in_features] row-major, `bias` [out_features] or empty.
  /// Throws Error bad_argument when sizes do not fit.
  Linear(std::size_t in_features, std::size_t out_features, const SharedBuffer<T>& weight,
         const SharedBuffer<T>& bias, const Threads& threads = {},
         const ProductSettings& settings = {})
      : name(settings.name) {
    require_equal(weight.size(), out_features * in_features, "Linear: elements of weight");
    if (!bias.empty()) require_equal(bias.size(), out_features, "Linear: elements of bias");
    weights = PackedWeights<T, Arch>(
        {1, in_features, out_features},
        kernels::PanelSource<T>{
            .data = weight.data(), .depth_stride = 1, .column_stride = in_features},
        bias, threads, settings);
  }

  [[nodiscard]] std::size_t in_features() const noexcept { return weights.layout().depth; }
  [[nodiscard]] std::size_t out_features() const noexcept { return weights.layout().columns; }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("weights", self.weights);
  }
};

/// out [M, out_features] = activation(in [M, in_features] W^T + b + residual). `in` and `out` may
/// each be a LeftOperand: `in` that of the layer. `out` may be the residual, but not the input.
///
/// Error of an element, at most, beside n eps times the sum of the magnitudes added:
///   f32: nothing; n = in_features + 2
///   bf16: (2^-8 + 2^-18) times that sum, or 2^-9 where inputs are not rounded; n = in_features + 4
///   int8: |x| w / 254 + (|W| + w / 254) s / 2 for each product x W where x is not clamped, w being
///   the column's largest |W| and s the scale of the inputs; n = in_features / 256 + 4
/// Throws Error bad_argument when shapes do not fit or `in` was made for another layer.
template <class T, class Arch, class In = Matrix<const T>, class Out = Matrix<T>>
void linear(const Context& context, const Linear<T, Arch>& layer, const In& in, const Out& out,
            const OutputOptions<T>& options = {}) {
  const Matrix<const T> in_shape = shape_of(in);
  const Matrix<const T> out_shape = shape_of(out);
  require_equal(in_shape.columns, layer.in_features(), "linear: columns of in");
  require_equal(out_shape.rows, in_shape.rows, "linear: rows of out");
  if constexpr (std::is_same_v<In, LeftOperand<T, Arch>>) {
    matmul<T, Arch>(context, in, layer.weights, options, out);
  } else {
    matmul<T, Arch>(context, kernels::StridedRows<T>{in.data, in.stride}, layer.weights, options,
                    out);
  }
  context.observe<T>(layer.name, in_shape, out_shape);
}

}  // namespace q2l::ops
