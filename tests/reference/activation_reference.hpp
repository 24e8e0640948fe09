// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <query2label/kernels/elementwise_kernel.hpp>
#include <query2label/simd/vector_math.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// The functions between layers, in double. No slope exceeds 1.13 (GELU near 1.41) or the leaky
/// ReLU's own, which bounds how an operand's error grows.
struct ActivationReference {
  static constexpr Domain domain{0.0, 8.0};

  static double value(const Activation& activation, double x) {
    switch (activation.kind) {
      case Activation::Kind::identity:
        return x;
      case Activation::Kind::leaky_relu:
        return x > 0.0 ? x : activation.negative_slope * x;
      case Activation::Kind::gelu:
        return x * 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
      case Activation::Kind::quick_gelu:
        return x / (1.0 + std::exp(-1.702 * x));
    }
    return x;
  }

  static double slope(const Activation& activation) {
    switch (activation.kind) {
      case Activation::Kind::identity:
        return 1.0;
      case Activation::Kind::leaky_relu:
        return std::max(1.0, std::abs(activation.negative_slope));
      case Activation::Kind::gelu:
      case Activation::Kind::quick_gelu:
        return 1.13;
    }
    return 1.0;
  }

  /// Relative to |x|, in epsilon of T.
  template <class T>
  static double epsilons(const Activation& activation) {
    switch (activation.kind) {
      case Activation::Kind::identity:
        return 0.0;
      case Activation::Kind::leaky_relu:
        return 2.0;  // the product, and the slope rounded to T
      case Activation::Kind::gelu:
        return simd::VectorMathBound<T>::erf / 4 + 1.0;
      case Activation::Kind::quick_gelu:
        return simd::VectorMathBound<T>::sigmoid + 2.0;
    }
    return 0.0;
  }

  template <class T>
  static Estimate apply(const Activation& activation, Estimate x) {
    for (std::size_t i = 0; i < x.value.size(); ++i) {
      const double magnitude = std::abs(x.value[i]) + x.error[i];
      x.error[i] =
          slope(activation) * x.error[i] + epsilons<T>(activation) * rounding<T> * magnitude;
      x.value[i] = value(activation, x.value[i]);
    }
    return x;
  }
};

}  // namespace q2l::test
