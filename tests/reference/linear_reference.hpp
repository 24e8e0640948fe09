// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>

#include "reference/activation_reference.hpp"
#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.Linear: activation(x W^T + bias + residual). An element's error is
/// (in_features + 2) epsilon times the sum of the magnitudes added. Also the product of any two
/// matrices, the second one transposed.
struct LinearReference {
  static constexpr Domain domain{0.0, 1.0};

  /// `weight` [out, in]; `bias` [1, out] and `residual` [M, out] may be empty.
  template <class T>
  static Estimate apply(const Estimate& in, const Estimate& weight, const Estimate& bias,
                        const Estimate& residual = {}, const Activation& activation = {}) {
    Estimate out(in.rows, weight.rows);
    for (std::size_t r = 0; r < in.rows; ++r) {
      for (std::size_t o = 0; o < weight.rows; ++o) {
        double sum = 0.0, magnitude = 0.0, error = 0.0;
        const auto add = [&](double value, double value_error) {
          sum += value;
          magnitude += std::abs(value) + value_error;
          error += value_error;
        };
        if (!bias.empty()) add(bias.value[o], bias.error[o]);
        if (!residual.empty()) add(residual.value[out.at(r, o)], residual.error[out.at(r, o)]);
        for (std::size_t i = 0; i < in.columns; ++i) {
          const double w = weight.value[weight.at(o, i)], w_error = weight.error[weight.at(o, i)];
          const double x = in.value[in.at(r, i)], x_error = in.error[in.at(r, i)];
          add(w * x, std::abs(w) * x_error + w_error * (std::abs(x) + x_error));
        }
        out.value[out.at(r, o)] = sum;
        out.error[out.at(r, o)] =
            error + (static_cast<double>(in.columns) + 2.0) * rounding<T> * magnitude;
      }
    }
    return ActivationReference::apply<T>(activation, std::move(out));
  }
};

}  // namespace q2l::test
