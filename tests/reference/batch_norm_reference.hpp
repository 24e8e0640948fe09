// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.BatchNorm2d in evaluation, of one value of one channel. Folded statistics give it
/// within 8 epsilon of double times the magnitudes added.
struct BatchNormReference {
  static constexpr Domain domain{0.0, 3.0};

  static double value(double x, double weight, double bias, double mean, double variance,
                      double eps) {
    return (x - mean) / std::sqrt(variance + eps) * weight + bias;
  }
  static double error(double x, double weight, double bias, double mean, double variance,
                      double eps) {
    const double scale = std::abs(weight) / std::sqrt(variance + eps);
    return 8.0 * rounding<double> * ((std::abs(x) + std::abs(mean)) * scale + std::abs(bias));
  }
};

}  // namespace q2l::test
