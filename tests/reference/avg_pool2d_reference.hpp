// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <query2label/core/tensor.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// The mean of each window over the pixels inside the picture. Windows begin every `stride` pixels,
/// inside the picture, until one reaches its end. Error: kernel^2 + 1 roundings of the mean
/// magnitude.
struct AvgPool2dReference {
  static constexpr Domain domain{0.0, 1.0};

  template <class T>
  static Estimate apply(std::size_t kernel, std::size_t stride, FeatureMap<const T> in) {
    const auto windows = [&](std::size_t extent) {
      std::size_t count = 1;
      while ((count - 1) * stride + kernel < extent && count * stride < extent) ++count;
      return count;
    };
    const std::size_t height = windows(in.height);
    const std::size_t width = windows(in.width);
    Estimate out(in.batch * height * width, in.channels);
    for (std::size_t r = 0; r < out.rows; ++r) {
      const std::size_t y = r / width % height * stride;
      const std::size_t x = r % width * stride;
      for (std::size_t c = 0; c < out.columns; ++c) {
        double sum = 0.0;
        double magnitude = 0.0;
        double count = 0.0;
        for (std::size_t v = y; v < std::min(y + kernel, in.height); ++v) {
          for (std::size_t u = x; u < std::min(x + kernel, in.width); ++u, ++count) {
            const auto element = static_cast<double>(in.pixel(r / width / height, v, u)[c]);
            sum += element;
            magnitude += std::abs(element);
          }
        }
        const auto roundings = static_cast<double>(kernel * kernel + 1);
        out.value[out.at(r, c)] = sum / count;
        out.error[out.at(r, c)] = roundings * rounding<T> * magnitude / count;
      }
    }
    return out;
  }
};

}  // namespace q2l::test
