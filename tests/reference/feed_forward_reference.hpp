// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/ops/feed_forward.hpp>
#include <string>
#include <vector>

#include "reference/estimate.hpp"
#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/values_of.hpp"

namespace q2l::test {

/// linear2(activation(linear1(x))) + residual.
struct FeedForwardReference {
  static constexpr Domain domain{0.0, 1.0};

  std::size_t width = 0;
  std::size_t hidden = 0;
  std::vector<float> weight1, bias1, weight2, bias2;

  /// Weights with which a layer changes its operand's magnitude by `gain`.
  static FeedForwardReference filled(const std::string& name, std::size_t width, std::size_t hidden,
                                     double gain = 1.0) {
    const auto radius = [gain](std::size_t depth) {
      return gain * std::sqrt(3.0 / static_cast<double>(depth));
    };
    return {width,
            hidden,
            fill(name + "linear1.weight", hidden * width, 0.0, radius(width), 1),
            fill(name + "linear1.bias", hidden, 0.0, 0.5, 1),
            fill(name + "linear2.weight", width * hidden, 0.0, radius(hidden), 1),
            fill(name + "linear2.bias", width, 0.0, 0.5, 1)};
  }

  template <class T, class Arch>
  [[nodiscard]] ops::FeedForward<T, Arch> make(const Activation& activation) const {
    return {{width, hidden, values_of<T>(weight1), values_of<T>(bias1)},
            {hidden, width, values_of<T>(weight2), values_of<T>(bias2)},
            activation};
  }

  /// x and `residual` [M, width]; `residual` may be empty.
  template <class T>
  [[nodiscard]] Estimate apply(const Estimate& x, const Activation& activation,
                               const Estimate& residual = {}) const {
    const Estimate inner =
        LinearReference::apply<T>(x, {hidden, width, weight1}, {1, hidden, bias1}, {}, activation);
    return LinearReference::apply<T>(inner, {width, hidden, weight2}, {1, width, bias2}, residual);
  }
};

}  // namespace q2l::test
