// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <query2label/ops/max_pool2d.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.MaxPool2d, element by element. Exact.
struct MaxPool2dReference {
  static constexpr Domain domain{-5.0, 1.0};  // below zero, where a border of zeros would win

  /// `in` [N H W, C] -> [N H' W', C].
  static Estimate apply(const ops::Pool2dShape& shape, const Estimate& in, std::size_t batch,
                        std::size_t height, std::size_t width) {
    const std::size_t out_height = shape.output(height), out_width = shape.output(width);
    Estimate out(batch * out_height * out_width, in.columns);
    for (std::size_t pixel = 0; pixel < out.rows; ++pixel) {
      const std::size_t x = pixel % out_width;
      const std::size_t y = pixel / out_width % out_height;
      const std::size_t n = pixel / out_width / out_height;
      for (std::size_t c = 0; c < in.columns; ++c) {
        double largest = -std::numeric_limits<double>::infinity();
        for (std::size_t t = 0; t < shape.kernel * shape.kernel; ++t) {
          const std::size_t in_y = y * shape.stride + t / shape.kernel;
          const std::size_t in_x = x * shape.stride + t % shape.kernel;
          if (in_y < shape.padding || in_y - shape.padding >= height) continue;
          if (in_x < shape.padding || in_x - shape.padding >= width) continue;
          const std::size_t row =
              (n * height + in_y - shape.padding) * width + in_x - shape.padding;
          largest = std::max(largest, in.value[in.at(row, c)]);
        }
        out.value[out.at(pixel, c)] = largest;
      }
    }
    return out;
  }
};

}  // namespace q2l::test
