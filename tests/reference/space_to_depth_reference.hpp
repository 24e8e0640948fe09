// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/core/tensor.hpp>

#include "reference/estimate.hpp"

namespace q2l::test {

/// Channel k of an output pixel comes from row k / (block C), column k / C % block of its block,
/// channel k % C. Exact.
struct SpaceToDepthReference {
  static constexpr Domain domain{0.0, 1.0};

  template <class T>
  static Estimate apply(std::size_t block, FeatureMap<const T> in) {
    const std::size_t height = in.height / block;
    const std::size_t width = in.width / block;
    Estimate out(in.batch * height * width, block * block * in.channels);
    for (std::size_t r = 0; r < out.rows; ++r) {
      const std::size_t n = r / width / height;
      const std::size_t y = r / width % height * block;
      const std::size_t x = r % width * block;
      for (std::size_t k = 0; k < out.columns; ++k) {
        const std::size_t row = k / (block * in.channels);
        const std::size_t column = k / in.channels % block;
        out.value[out.at(r, k)] =
            static_cast<double>(in.pixel(n, y + row, x + column)[k % in.channels]);
      }
    }
    return out;
  }
};

}  // namespace q2l::test
