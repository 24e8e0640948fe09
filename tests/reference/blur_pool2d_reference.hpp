// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/core/tensor.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// Every second pixel of the input convolved with (1,2,1) x (1,2,1) / 16 over its reflection.
/// Error: 3 roundings of the weighted mean magnitude.
struct BlurPool2dReference {
  static constexpr Domain domain{0.0, 1.0};

  template <class T>
  static Estimate apply(FeatureMap<const T> in) {
    const auto reflected = [](std::size_t at, int step, std::size_t extent) {
      const long last = static_cast<long>(extent) - 1;
      const long moved = static_cast<long>(at) + step;
      return static_cast<std::size_t>(moved < 0 ? -moved : moved > last ? 2 * last - moved : moved);
    };
    constexpr double weight[] = {0.25, 0.5, 0.25};
    const std::size_t height = (in.height + 1) / 2;
    const std::size_t width = (in.width + 1) / 2;
    Estimate out(in.batch * height * width, in.channels);
    for (std::size_t r = 0; r < out.rows; ++r) {
      for (std::size_t c = 0; c < out.columns; ++c) {
        double magnitude = 0.0;
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            const T* pixel =
                in.pixel(r / width / height, reflected(r / width % height * 2, dy, in.height),
                         reflected(r % width * 2, dx, in.width));
            const double term = weight[dy + 1] * weight[dx + 1] * static_cast<double>(pixel[c]);
            out.value[out.at(r, c)] += term;
            magnitude += std::abs(term);
          }
        }
        out.error[out.at(r, c)] = 3.0 * rounding<T> * magnitude;
      }
    }
    return out;
  }
};

}  // namespace q2l::test
