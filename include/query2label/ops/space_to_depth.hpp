// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"

namespace q2l::ops {

/// Every block of block x block pixels of in [N, H, W, C] becomes one pixel of
/// out [N, H / block, W / block, block^2 C], whose channels are ordered (row, column, channel):
/// TResNet's stem with block 4 (arXiv 2003.13630). Exact.
/// Throws Error bad_argument when shapes do not fit.
template <class T>
void space_to_depth(const Context& context, std::size_t block, FeatureMap<const T> in,
                    FeatureMap<T> out) {
  require_argument(block > 0, "space_to_depth", "the block is empty");
  require_argument(in.height % block == 0 && in.width % block == 0, "space_to_depth",
                   "the block must divide height and width");
  require_equal(out.batch, in.batch, "space_to_depth: batch of out");
  require_equal(out.height, in.height / block, "space_to_depth: height of out");
  require_equal(out.width, in.width / block, "space_to_depth: width of out");
  require_equal(out.channels, block * block * in.channels, "space_to_depth: channels of out");
  if (context.is_planning()) return;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    for (std::size_t x = 0; x < out.width; ++x) {
      T* to = out.pixel(n, y, x);
      for (std::size_t v = 0; v < block; ++v) {
        for (std::size_t u = 0; u < block; ++u, to += in.channels) {
          std::copy_n(in.pixel(n, y * block + v, x * block + u), in.channels, to);
        }
      }
    }
  });
}

}  // namespace q2l::ops
