// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/max_pool2d.hpp"

namespace q2l::ops {
namespace detail {

/// Rows `first` .. `last` - 1 of image `n` of `out`. The last rows of the convolution's map lie in
/// `ring`, of as many rows as a window is high: row y in place y % kernel.
template <class T, class Arch>
void convolve_and_pool_rows(const Conv2d<T, Arch>& layer, const Activation& activation,
                            const Pool2dShape& pool, FeatureMap<const T> bordered,
                            FeatureMap<T> out, std::size_t n, std::size_t first, std::size_t last,
                            FeatureMap<T> ring) {
  const Conv2dShape& shape = layer.shape;
  const kernels::PanelMatrix<T, Arch> panels = layer.weights.plain_panels();
  const std::size_t height = (bordered.height - shape.kernel) / shape.stride + 1;
  const kernels::Epilogue<T> epilogue{layer.weights.bias(), nullptr, 0, activation};
  std::size_t next = pool.window(first, height).begin;
  for (std::size_t y = first; y < last; ++y) {
    for (const std::size_t end = pool.window(y, height).end; next < end; ++next) {
      const FeatureMap<const T> band(bordered.pixel(n, next * shape.stride, 0), 1, shape.kernel,
                                     bordered.width, bordered.channels, bordered.stride);
      const KernelRowRows<T> rows{band, shape, 1, ring.width};
      kernels::matmul_block<T, Arch>(rows, 0, ring.width, panels, 0, panels.layout.panels(),
                                     epilogue, ring.pixel(0, next % ring.height, 0), ring.stride);
    }
    max_pool_row<T, Arch>(
        pool, height, ring.width, y,
        [&](std::size_t v, std::size_t u) { return ring.pixel(0, v % ring.height, u); },
        {out.pixel(n, y, 0), out.width, out.channels, out.stride});
  }
}

}  // namespace detail

/// The stem of a ResNet: out [N, H', W', C] = max_pool2d(activation(conv2d(in))), with the bits of
/// the two ops. Of the map between them, which is four times as large, only the rows under one
/// window exist at a time, so that they stay in the second-level cache. Where that is not
/// implemented (taps that are no kernel rows, narrow weights) or an observer wants to see the map,
/// the ops run one after the other. Error as `conv2d`.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void conv2d_max_pool2d(const Context& context, const Conv2d<T, Arch>& layer,
                       const Activation& activation, const Pool2dShape& pool,
                       FeatureMap<const T> in, FeatureMap<T> out) {
  const Conv2dShape& shape = layer.shape;
  const std::size_t height = shape.output(in.height);
  const std::size_t width = shape.output(in.width);
  const Workspace::Frame frame(context.workspace);
  const bool is_fused = layer.winograd.tile() == 0 && layer.taps_are_rows() &&
                        layer.weights.precision() == Precision::f32;
  if (!is_fused || context.observer != nullptr) {
    const FeatureMap<T> map =
        context.workspace.take_feature_map<T>(in.batch, height, width, shape.out_channels);
    conv2d<T, Arch>(context, layer, in, map, {.activation = activation});
    return max_pool2d<T, Arch>(context, pool, map, out);
  }
  require_equal(in.channels, shape.in_channels, "conv2d: channels of in");
  detail::require_pooled<T>(pool, {nullptr, in.batch, height, width, shape.out_channels}, out);
  const FeatureMap<T> bordered = detail::copy_with_border<T>(context, in, shape.padding);
  const FeatureMap<T> rings = context.workspace.take_feature_map<T>(context.workers, pool.kernel,
                                                                    width, shape.out_channels);
  if (context.is_planning()) return;
  // Where strips meet, rows are computed twice.
  constexpr std::size_t least_rows = 8;
  const std::size_t strips =
      std::clamp<std::size_t>(4 * context.workers / std::max<std::size_t>(1, out.batch), 1,
                              std::max<std::size_t>(1, out.height / least_rows));
  context.parallel_for(out.batch * strips, [&](std::size_t task, std::size_t worker) {
    const std::size_t strip = task % strips;
    detail::convolve_and_pool_rows<T, Arch>(layer, activation, pool, bordered, out, task / strips,
                                            out.height * strip / strips,
                                            out.height * (strip + 1) / strips, rings.image(worker));
  });
}

}  // namespace q2l::ops
