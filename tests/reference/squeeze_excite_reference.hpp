// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/core/tensor.hpp>
#include <query2label/kernels/elementwise_kernel.hpp>
#include <query2label/simd/vector_math.hpp>
#include <utility>
#include <vector>

#include "reference/activation_reference.hpp"
#include "reference/estimate.hpp"
#include "reference/linear_reference.hpp"

namespace q2l::test {

/// Weights of a squeeze-and-excitation, row-major: fc1 [S, C], fc2 [C, S].
template <class T>
struct SqueezeExciteWeights {
  std::vector<T> fc1_weight, fc1_bias, fc2_weight, fc2_bias;
};

/// activation(gate x + residual), gate = sigmoid(fc2(relu(fc1(mean pixel)))).
struct SqueezeExciteReference {
  static constexpr Domain domain{0.0, 1.0};

  /// `residual` may have no data.
  template <class T>
  static Estimate apply(const SqueezeExciteWeights<T>& weights, FeatureMap<const T> in,
                        Matrix<const T> residual = {}, const Activation& activation = {}) {
    Estimate out(in.pixel_count(), in.channels);
    const std::size_t pixels = in.height * in.width;
    for (std::size_t n = 0; n < in.batch; ++n) {
      const Estimate gate = gates(weights, in.image(n));
      for (std::size_t r = n * pixels; r < (n + 1) * pixels; ++r) {
        for (std::size_t c = 0; c < in.channels; ++c) {
          const auto x = static_cast<double>(in.pixels().row(r)[c]);
          const double added = residual.data ? static_cast<double>(residual.row(r)[c]) : 0.0;
          const double scaled = x * gate.value[c];
          out.value[out.at(r, c)] = scaled + added;
          out.error[out.at(r, c)] =
              std::abs(x) * gate.error[c] + rounding<T> * (std::abs(scaled) + std::abs(added));
        }
      }
    }
    return ActivationReference::apply<T>(activation, std::move(out));
  }

 private:
  /// [1, C]. The sigmoid passes on at most a quarter of its input's error.
  template <class T>
  static Estimate gates(const SqueezeExciteWeights<T>& weights, FeatureMap<const T> image) {
    const auto layer = [](const Estimate& in, const std::vector<T>& weight,
                          const std::vector<T>& bias, const Activation& activation) {
      return LinearReference::apply<T>(in, Estimate(bias.size(), in.columns, weight),
                                       Estimate(1, bias.size(), bias), {}, activation);
    };
    const Estimate hidden =
        layer(mean_pixel(image), weights.fc1_weight, weights.fc1_bias, Activation::relu());
    Estimate gate = layer(hidden, weights.fc2_weight, weights.fc2_bias, Activation::identity());
    for (std::size_t c = 0; c < gate.columns; ++c) {
      gate.value[c] = 1.0 / (1.0 + std::exp(-gate.value[c]));
      gate.error[c] =
          gate.error[c] / 4 + simd::VectorMathBound<T>::sigmoid * rounding<T> * gate.value[c];
    }
    return gate;
  }

  /// [1, C]. Error: one rounding of the mean magnitude per row, per column, and two more.
  template <class T>
  static Estimate mean_pixel(FeatureMap<const T> image) {
    Estimate mean(1, image.channels);
    const auto count = static_cast<double>(image.pixel_count());
    const auto roundings = static_cast<double>(image.height + image.width + 2);
    for (std::size_t r = 0; r < image.pixel_count(); ++r) {
      for (std::size_t c = 0; c < mean.columns; ++c) {
        const auto element = static_cast<double>(image.pixels().row(r)[c]);
        mean.value[c] += element / count;
        mean.error[c] += roundings * rounding<T> * std::abs(element) / count;
      }
    }
    return mean;
  }
};

}  // namespace q2l::test
