// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/core/tensor.hpp>
#include <query2label/ops/depthwise_conv2d.hpp>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// norm(conv(in)) with a filter [kernel, kernel] per channel in `weight` [C, 1, kernel, kernel] and
/// zeros around the picture. Error: kernel^2 + 1 roundings of the magnitudes added.
template <class T>
Estimate depthwise_conv2d_reference(const ops::DepthwiseConv2dShape& shape,
                                    const std::vector<T>& weight, const ops::ChannelAffine& norm,
                                    FeatureMap<const T> in) {
  const std::size_t height = shape.output(in.height);
  const std::size_t width = shape.output(in.width);
  Estimate out(in.batch * height * width, in.channels);
  for (std::size_t r = 0; r < out.rows; ++r) {
    for (std::size_t c = 0; c < out.columns; ++c) {
      double sum = norm.shift[c];
      double magnitude = std::abs(sum);
      for (std::size_t tap = 0; tap < shape.kernel * shape.kernel; ++tap) {
        const auto coordinate = [&](std::size_t at, std::size_t offset) {
          return static_cast<long>(at * shape.stride + offset) - static_cast<long>(shape.padding);
        };
        const long y = coordinate(r / width % height, tap / shape.kernel);
        const long x = coordinate(r % width, tap % shape.kernel);
        if (y < 0 || x < 0 || y >= static_cast<long>(in.height) ||
            x >= static_cast<long>(in.width)) {
          continue;
        }
        const T* pixel =
            in.pixel(r / width / height, static_cast<std::size_t>(y), static_cast<std::size_t>(x));
        const double term = norm.scale[c] *
                            static_cast<double>(weight[c * shape.kernel * shape.kernel + tap]) *
                            static_cast<double>(pixel[c]);
        sum += term;
        magnitude += std::abs(term);
      }
      out.value[out.at(r, c)] = sum;
      out.error[out.at(r, c)] =
          static_cast<double>(shape.kernel * shape.kernel + 1) * rounding<T> * magnitude;
    }
  }
  return out;
}

}  // namespace q2l::test
