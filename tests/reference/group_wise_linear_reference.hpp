// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// logit[n, l] = W[k] . x[n, l] + b[k] with k the l-th of the labels asked for. An element's error
/// is (D + 2) epsilon times the sum of the magnitudes added.
struct GroupWiseLinearReference {
  static constexpr Domain domain{0.0, 1.0};

  /// x [N L, D], `weight` [K, D], `bias` [1, K] -> [N, L].
  template <class T>
  static Estimate apply(const Estimate& x, const Estimate& weight, const Estimate& bias,
                        const std::vector<std::size_t>& labels) {
    Estimate out(x.rows / labels.size(), labels.size());
    for (std::size_t r = 0; r < x.rows; ++r) {
      const std::size_t k = labels[r % labels.size()];
      double sum = bias.value[k], magnitude = std::abs(sum);
      for (std::size_t d = 0; d < x.columns; ++d) {
        const double product = weight.value[weight.at(k, d)] * x.value[x.at(r, d)];
        sum += product;
        magnitude += std::abs(product);
      }
      out.value[r] = sum;
      out.error[r] = (static_cast<double>(x.columns) + 2.0) * rounding<T> * magnitude;
    }
    return out;
  }
};

}  // namespace q2l::test
