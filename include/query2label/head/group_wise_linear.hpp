// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
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
  AlignedBuffer<T> weight;  ///< [K, D]
  AlignedBuffer<T> bias;    ///< [K]

  /// Reads `fc.W` [1, K, D] and `fc.b` [1, K].
  static GroupWiseLinear load(WeightMap& weights, std::size_t labels, std::size_t width) {
    GroupWiseLinear layer{labels, width, AlignedBuffer<T>(labels * width),
                          AlignedBuffer<T>(labels)};
    const std::vector<T> w = weights.take<T>("fc.W", {1, labels, width});
    const std::vector<T> b = weights.take<T>("fc.b", {1, labels});
    std::copy(w.begin(), w.end(), layer.weight.data());
    std::copy(b.begin(), b.end(), layer.bias.data());
    return layer;
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
