// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.LayerNorm over the columns. With y the normalised value, sigma the row's deviation and
/// a = mean |x| / sigma (large where the mean is), an element's error is
/// (D + 8) epsilon (|weight| (a + |y|) + |bias|) to first order.
struct LayerNormReference {
  static constexpr Domain domain{0.0, 1.0};

  /// `weight` and `bias` [1, D].
  template <class T>
  static Estimate apply(const Estimate& in, const Estimate& weight, const Estimate& bias,
                        double eps = 1e-5) {
    const auto count = static_cast<double>(in.columns);
    Estimate out(in.rows, in.columns);
    for (std::size_t r = 0; r < in.rows; ++r) {
      const double* x = in.value.data() + in.at(r, 0);
      const double* e = in.error.data() + in.at(r, 0);
      double mean = 0.0, magnitude = 0.0, mean_error = 0.0;
      for (std::size_t c = 0; c < in.columns; ++c) {
        mean += x[c] / count;
        magnitude += std::abs(x[c]) / count;
        mean_error += e[c] / count;
      }
      double variance = 0.0, variance_error = 0.0;
      for (std::size_t c = 0; c < in.columns; ++c) {
        variance += (x[c] - mean) * (x[c] - mean) / count;
        variance_error += std::abs(x[c] - mean) * (e[c] + mean_error) / count;
      }
      const double sigma = std::sqrt(variance + eps);
      // Relative change of 1 / sigma that the operand's errors may cause, with its second order.
      const double stretch = variance_error / (variance + eps);
      const double own = (count + 8.0) * rounding<T>;
      for (std::size_t c = 0; c < in.columns; ++c) {
        const double w = std::abs(weight.value[c]);
        const double y = (x[c] - mean) / sigma;
        out.value[out.at(r, c)] = y * weight.value[c] + bias.value[c];
        const double moved = ((e[c] + mean_error) / sigma + std::abs(y) * stretch) /
                             std::max(0.01, 1.0 - 2.0 * stretch);
        out.error[out.at(r, c)] = w * moved + own * (w * (magnitude / sigma + std::abs(y) + moved) +
                                                     std::abs(bias.value[c]));
      }
    }
    return out;
  }
};

}  // namespace q2l::test
