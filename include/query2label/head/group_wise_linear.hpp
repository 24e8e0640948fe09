// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/row_dot_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// The head of Query2Label: one linear classifier per label, logit[k] = W[k] . x[k] + b[k].
template <class T>
struct GroupWiseLinear {
  std::size_t labels = 0;
  std::size_t width = 0;
  SharedBuffer<T> weight;  ///< [K, D]
  SharedBuffer<T> bias;    ///< [K]

  /// Reads `fc.W` [1, K, D] and `fc.b` [1, K].
  static GroupWiseLinear load(WeightMap& weights, std::size_t labels, std::size_t width) {
    return {labels, width, weights.take<T>("fc.W", {1, labels, width}).copy(),
            weights.take<T>("fc.b", {1, labels}).copy()};
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};

/// logits [N, L] from the decoder's output x [N L, D], for the labels `chosen`, or all K if empty.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void group_wise_linear(const Context& context, const GroupWiseLinear<T>& layer,
                       std::span<const std::size_t> chosen, Matrix<const T> x, Matrix<T> logits) {
  const std::size_t count = chosen.empty() ? layer.labels : chosen.size();
  require_equal(logits.columns, count, "group_wise_linear: columns of logits");
  require_equal(x.rows, logits.rows * count, "group_wise_linear: rows of x");
  require_equal(x.columns, layer.width, "group_wise_linear: columns of x");
  if (context.is_planning()) return;
  ops::for_each_row(context, x.rows, x.columns, [&](std::size_t r) {
    const std::size_t k = chosen.empty() ? r % count : chosen[r % count];
    logits.row(r / count)[r % count] =
        kernels::dot_row<T, Arch>(x.row(r), layer.weight.data() + k * layer.width, layer.width) +
        layer.bias[k];
  });
}

}  // namespace q2l
