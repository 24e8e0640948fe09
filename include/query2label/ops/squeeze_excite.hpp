// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/squeeze_excite_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/ops/linear.hpp"

namespace q2l::ops {

/// Squeeze-and-excitation (arXiv 1709.01507): each channel of an image is scaled by a gate that all
/// channels of the image decide.
template <class T, class Arch>
struct SqueezeExcite {
  Linear<T, Arch> fc1;  ///< C -> squeezed
  Linear<T, Arch> fc2;  ///< squeezed -> C

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("fc1", self.fc1);
    visit("fc2", self.fc2);
  }
};

namespace detail {

/// means [N, C] = the mean over the pixels of each image of in [N, H, W, C]. Rows of pixels are
/// summed first, then the rows' sums, so neither threads nor batch change the order.
template <class T, class Arch>
void average_pixels(const Context& context, FeatureMap<const T> in, Matrix<T> means) {
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> row_sums = context.workspace.take_matrix<T>(in.batch * in.height, in.channels);
  if (context.is_planning()) return;
  context.parallel_for(row_sums.rows, [&](std::size_t row, std::size_t) {
    kernels::sum_rows<T, Arch>(in.data + row * in.width * in.stride, in.stride, in.width, T(1),
                               row_sums.row(row), in.channels);
  });
  const T share = T(1) / static_cast<T>(in.height * in.width);
  context.parallel_for(in.batch, [&](std::size_t n, std::size_t) {
    kernels::sum_rows<T, Arch>(row_sums.row(n * in.height), row_sums.stride, in.height, share,
                               means.row(n), in.channels);
  });
}

}  // namespace detail

/// out [N, H, W, C] = activation(gate * in [N, H, W, C] + residual), with one gate per image and
/// channel: gate = sigmoid(fc2(relu(fc1(mean of in over H and W)))). `out` may be `in` or the
/// residual. Error: the gate's is that of a mean of H W elements, two `linear` and 3.5 ulp of the
/// sigmoid; then 2 roundings. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void squeeze_excite(const Context& context, const SqueezeExcite<T, Arch>& layer,
                    FeatureMap<const T> in, FeatureMap<T> out,
                    const OutputOptions<T>& options = {}) {
  require_equal(out.batch, in.batch, "squeeze_excite: batch of out");
  require_equal(out.height, in.height, "squeeze_excite: height of out");
  require_equal(out.width, in.width, "squeeze_excite: width of out");
  require_equal(out.channels, in.channels, "squeeze_excite: channels of out");
  require_argument(in.height > 0 && in.width > 0, "squeeze_excite", "needs at least one pixel");
  const Matrix<const T>& residual = options.residual;
  if (residual.data) {
    require_equal(residual.rows, in.pixel_count(), "squeeze_excite: rows of residual");
    require_equal(residual.columns, in.channels, "squeeze_excite: columns of residual");
  }

  const Workspace::Frame frame(context.workspace);
  const Matrix<T> gates = context.workspace.take_matrix<T>(in.batch, in.channels);
  const Matrix<T> squeezed = context.workspace.take_matrix<T>(in.batch, layer.fc1.out_features());
  detail::average_pixels<T, Arch>(context, in, gates);
  linear<T, Arch>(context, layer.fc1, gates, squeezed, {.activation = Activation::relu()});
  linear<T, Arch>(context, layer.fc2, squeezed, gates);
  if (context.is_planning()) return;
  for (std::size_t n = 0; n < in.batch; ++n) {
    kernels::sigmoid_row<T, Arch>(gates.row(n), gates.columns);
  }
  const Matrix<const T> x = in.pixels();
  const Matrix<T> y = out.pixels();
  const std::size_t image_pixels = in.height * in.width;
  for_each_row(context, x.rows, x.columns, [&](std::size_t r) {
    kernels::gate_row<T, Arch>(x.row(r), gates.row(r / image_pixels),
                               residual.data ? residual.row(r) : nullptr, options.activation,
                               y.row(r), x.columns);
  });
}

}  // namespace q2l::ops
