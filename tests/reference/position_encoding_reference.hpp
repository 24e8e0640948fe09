// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>

#include "reference/estimate.hpp"

namespace q2l::test {

/// The sine position code feature by feature, as the reference implementation writes it: features
/// of y, then of x; sine in the even ones, cosine in the odd ones. Angles reach 2 pi and lose a few
/// epsilon of double on their way; the result is rounded to T.
struct PositionEncodingReference {
  static constexpr Domain domain{0.0, 2.0 * std::numbers::pi};

  template <class T>
  static Estimate apply(std::size_t height, std::size_t width, std::size_t features) {
    Estimate out(height * width, features);
    const std::size_t half = features / 2;
    for (std::size_t y = 0; y < height; ++y) {
      for (std::size_t x = 0; x < width; ++x) {
        for (std::size_t f = 0; f < features; ++f) {
          const bool is_y = f < half;
          const double position =
              is_y ? static_cast<double>(y + 1) / (static_cast<double>(height) + 1e-6)
                   : static_cast<double>(x + 1) / (static_cast<double>(width) + 1e-6);
          const std::size_t i = is_y ? f : f - half;
          const double exponent = static_cast<double>(2 * (i / 2)) / static_cast<double>(half);
          const double angle = position * 2.0 * std::numbers::pi / std::pow(10000.0, exponent);
          const std::size_t at = out.at(y * width + x, f);
          out.value[at] = i % 2 == 0 ? std::sin(angle) : std::cos(angle);
          out.error[at] =
              rounding<T> * std::abs(out.value[at]) + 4.0 * rounding<double> * (angle + 1.0);
        }
      }
    }
    return out;
  }
};

}  // namespace q2l::test
