// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/row_norm_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/linear.hpp"

namespace q2l::ops {

/// Swin's step to half the resolution (arXiv 2103.14030): 2 x 2 neighbours become one token.
template <class T, class Arch>
struct PatchMerging {
  LayerNorm<T> norm;          ///< 4 C
  Linear<T, Arch> reduction;  ///< 4 C -> 2 C

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("norm", self.norm);
    visit("reduction", self.reduction);
  }
};

/// out [N, H / 2, W / 2, 2 C] = linear(norm(neighbours of in [N, H, W, C])), the neighbours side by
/// side in the order (0,0), (1,0), (0,1), (1,1) of (y, x). An odd H or W is padded with a row or
/// column of zeros. Error: that of `layer_norm` and `linear`. Throws Error bad_argument when shapes
/// do not fit.
template <class T, class Arch>
void patch_merging(const Context& context, const PatchMerging<T, Arch>& layer,
                   FeatureMap<const T> in, FeatureMap<T> out) {
  const std::size_t channels = in.channels;
  require_equal(4 * channels, layer.norm.weight.size(), "patch_merging: channels of in");
  require_equal(out.batch, in.batch, "patch_merging: batch of out");
  require_equal(out.height, (in.height + 1) / 2, "patch_merging: height of out");
  require_equal(out.width, (in.width + 1) / 2, "patch_merging: width of out");
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> merged = context.workspace.take_matrix<T>(out.pixel_count(), 4 * channels);
  if (!context.is_planning()) {
    for_each_row(context, merged.rows, merged.columns, [&](std::size_t r) {
      const std::size_t x = r % out.width * 2;
      const std::size_t y = r / out.width % out.height * 2;
      const std::size_t n = r / out.width / out.height;
      T* const row = merged.row(r);
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t in_y = y + i % 2;
        const std::size_t in_x = x + i / 2;
        if (in_y < in.height && in_x < in.width) {
          std::copy_n(in.pixel(n, in_y, in_x), channels, row + i * channels);
        } else {
          std::fill_n(row + i * channels, channels, T(0));
        }
      }
      kernels::layer_norm_row<T, Arch>(row, layer.norm.weight.data(), layer.norm.bias.data(),
                                       layer.norm.eps, row, merged.columns);
    });
  }
  linear<T, Arch>(context, layer.reduction, merged, out.pixels());
}

}  // namespace q2l::ops
