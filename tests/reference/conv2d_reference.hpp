// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/ops/batch_norm.hpp>
#include <query2label/ops/conv2d.hpp>
#include <utility>

#include "reference/activation_reference.hpp"
#include "reference/estimate.hpp"

namespace q2l::test {

/// torch.nn.Conv2d and the normalisation behind it, pixel by pixel:
/// activation(norm(conv(x) + bias) + residual). An element's error is (kernel^2 C + 4) epsilon
/// times the sum of the magnitudes added: one more rounding for each folded weight, one for the
/// offset.
struct Conv2dReference {
  static constexpr Domain domain{0.0, 1.0};

  /// `in` [N H W, C]; `weight` [out, C kernel kernel]; `bias` [1, out] and `residual`
  /// [N H' W', out] may be empty, and so may the vectors of `norm`.
  template <class T>
  static Estimate apply(const ops::Conv2dShape& shape, const Estimate& in, std::size_t batch,
                        std::size_t height, std::size_t width, const Estimate& weight,
                        const Estimate& bias, const ops::ChannelAffine& norm = {},
                        const Estimate& residual = {}, const Activation& activation = {}) {
    const std::size_t out_height = shape.output(height), out_width = shape.output(width);
    const std::size_t taps = shape.kernel * shape.kernel;
    Estimate out(batch * out_height * out_width, shape.out_channels);
    for (std::size_t pixel = 0; pixel < out.rows; ++pixel) {
      const std::size_t x = pixel % out_width;
      const std::size_t y = pixel / out_width % out_height;
      const std::size_t n = pixel / out_width / out_height;
      for (std::size_t o = 0; o < shape.out_channels; ++o) {
        const double scale = norm.scale.empty() ? 1.0 : norm.scale[o];
        double sum = norm.shift.empty() ? 0.0 : norm.shift[o];
        double magnitude = std::abs(sum), error = 0.0;
        const auto add = [&](double value, double value_error) {
          sum += value;
          magnitude += std::abs(value) + value_error;
          error += value_error;
        };
        if (!bias.empty()) add(scale * bias.value[o], 0.0);
        if (!residual.empty())
          add(residual.value[out.at(pixel, o)], residual.error[out.at(pixel, o)]);
        for (std::size_t t = 0; t < taps; ++t) {
          const std::size_t in_y = y * shape.stride + t / shape.kernel;
          const std::size_t in_x = x * shape.stride + t % shape.kernel;
          if (in_y < shape.padding || in_y - shape.padding >= height) continue;
          if (in_x < shape.padding || in_x - shape.padding >= width) continue;
          const std::size_t row =
              (n * height + in_y - shape.padding) * width + in_x - shape.padding;
          for (std::size_t c = 0; c < shape.in_channels; ++c) {
            const double w = scale * weight.value[weight.at(o, c * taps + t)];
            add(w * in.value[in.at(row, c)], std::abs(w) * in.error[in.at(row, c)]);
          }
        }
        const auto depth = static_cast<double>(taps * shape.in_channels);
        out.value[out.at(pixel, o)] = sum;
        out.error[out.at(pixel, o)] = error + (depth + 4.0) * rounding<T> * magnitude;
      }
    }
    return ActivationReference::apply<T>(activation, std::move(out));
  }
};

}  // namespace q2l::test
