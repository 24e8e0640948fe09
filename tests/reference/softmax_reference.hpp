// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <query2label/simd/vector_math.hpp>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// softmax(scale x + bias) of each row. An exponent's error, 2 epsilon of the scaled magnitudes and
/// one of the distance to the largest, is a relative error of the result, as are those of exp and
/// of the sum of `columns` terms.
struct SoftmaxReference {
  static constexpr Domain domain{0.0, 100.0};

  /// `bias` [rows, columns] may be empty.
  template <class T>
  static Estimate apply(const Estimate& x, const Estimate& bias, double scale) {
    Estimate out(x.rows, x.columns);
    for (std::size_t r = 0; r < x.rows; ++r) {
      std::vector<double> score(x.columns), error(x.columns);
      double largest = -std::numeric_limits<double>::infinity();
      for (std::size_t c = 0; c < x.columns; ++c) {
        const std::size_t i = x.at(r, c);
        const double offset = bias.empty() ? 0.0 : bias.value[i];
        score[c] = scale * x.value[i] + offset;
        error[c] = std::abs(scale) * x.error[i] +
                   2.0 * rounding<T> * (std::abs(scale * x.value[i]) + std::abs(offset));
        largest = std::max(largest, score[c]);
      }
      double sum = 0.0, worst = 0.0;
      for (std::size_t c = 0; c < x.columns; ++c) {
        error[c] += rounding<T> * (largest - score[c]);
        // What lies far below the largest hardly moves the sum.
        if (largest - score[c] < 50.0) worst = std::max(worst, error[c]);
        sum += std::exp(score[c] - largest);
      }
      const double own =
          (static_cast<double>(x.columns) + simd::VectorMathBound<T>::exp + 4.0) * rounding<T>;
      for (std::size_t c = 0; c < x.columns; ++c) {
        const double value = std::exp(score[c] - largest) / sum;
        out.value[out.at(r, c)] = value;
        // exp gives 0 where its result would not be normal.
        out.error[out.at(r, c)] =
            value * (std::expm1(error[c] + worst) + own) + std::numeric_limits<T>::min();
      }
    }
    return out;
  }
};

}  // namespace q2l::test
