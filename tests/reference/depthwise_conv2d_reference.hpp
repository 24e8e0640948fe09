// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/ops/batch_norm.hpp>
#include <query2label/ops/depthwise_conv2d.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.Conv2d with a group per channel and the normalisation behind it, pixel by pixel. An
/// element's error is kernel^2 + 1 epsilon times the sum of the magnitudes added.
struct DepthwiseConv2dReference {
  static constexpr Domain domain{0.0, 1.0};

  /// `in` [N H W, C]; `weight` [C, kernel kernel].
  template <class T>
  static Estimate apply(const ops::DepthwiseConv2dShape& shape, const Estimate& in,
                        std::size_t batch, std::size_t height, std::size_t width,
                        const Estimate& weight, const ops::ChannelAffine& norm) {
    const std::size_t out_height = shape.output(height), out_width = shape.output(width);
    const std::size_t taps = shape.kernel * shape.kernel;
    Estimate out(batch * out_height * out_width, shape.channels);
    for (std::size_t pixel = 0; pixel < out.rows; ++pixel) {
      const std::size_t x = pixel % out_width;
      const std::size_t y = pixel / out_width % out_height;
      const std::size_t n = pixel / out_width / out_height;
      for (std::size_t c = 0; c < shape.channels; ++c) {
        double sum = norm.shift[c];
        double magnitude = std::abs(sum), error = 0.0;
        for (std::size_t t = 0; t < taps; ++t) {
          const std::size_t in_y = y * shape.stride + t / shape.kernel;
          const std::size_t in_x = x * shape.stride + t % shape.kernel;
          if (in_y < shape.padding || in_y - shape.padding >= height) continue;
          if (in_x < shape.padding || in_x - shape.padding >= width) continue;
          const std::size_t row =
              (n * height + in_y - shape.padding) * width + in_x - shape.padding;
          const double w = norm.scale[c] * weight.value[weight.at(c, t)];
          const double moved = std::abs(w) * in.error[in.at(row, c)];
          sum += w * in.value[in.at(row, c)];
          magnitude += std::abs(w * in.value[in.at(row, c)]) + moved;
          error += moved;
        }
        out.value[out.at(pixel, c)] = sum;
        out.error[out.at(pixel, c)] =
            error + (static_cast<double>(taps) + 1.0) * rounding<T> * magnitude;
      }
    }
    return out;
  }
};

}  // namespace q2l::test
