// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/ops/batch_norm.hpp"
#include "query2label/ops/convolution_rows.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/matmul.hpp"
#include "query2label/ops/packed_weights.hpp"
#include "query2label/ops/sliding_window.hpp"
#include "query2label/ops/winograd_conv2d.hpp"
#include "query2label/simd/amx_tiles.hpp"

namespace q2l::ops {

/// torch.nn.Conv2d (groups 1, dilation 1) with the normalisation behind it folded in.
///
/// A convolution is the product of the kernel with one tap per kernel position (an implicit GEMM:
/// nothing is copied). With few input channels a tap is a whole kernel row instead, kernel * C
/// neighbouring elements of a copy of the input with zero borders. A 3x3 convolution of stride 1
/// goes by Winograd's tiles where they are faster.
template <class T, class Arch>
struct Conv2d {
  Conv2dShape shape;
  std::string name;                ///< in the checkpoint
  PackedWeights<T, Arch> weights;  ///< none where `winograd` has some
  WinogradConv2d<T, Arch> winograd;
  AlignedBuffer<T> zeros;  ///< a pixel of the zero border

  Conv2d() = default;

  /// `weight` [out, in, kernel, kernel] row-major; `bias` [out] or empty; `norm` is applied to the
  /// result, or has empty vectors. Throws Error bad_argument when sizes do not fit or the kernel or
  /// stride is 0.
  Conv2d(const Conv2dShape& shape_, const SharedBuffer<T>& weight, const SharedBuffer<T>& bias,
         const ChannelAffine& norm = {}, const Threads& threads = {},
         const ProductSettings& settings = {})
      : shape(shape_), name(settings.name), zeros(shape_.in_channels) {
    require_window(shape.kernel, shape.stride, "Conv2d");
    const std::size_t taps = shape.kernel * shape.kernel;
    const std::size_t filter = shape.in_channels * taps;
    require_equal(weight.size(), shape.out_channels * filter, "Conv2d: elements of weight");
    if (!bias.empty()) require_equal(bias.size(), shape.out_channels, "Conv2d: elements of bias");
    for (const auto* const of_norm : {&norm.scale, &norm.shift}) {
      if (of_norm->empty()) continue;
      require_equal(of_norm->size(), shape.out_channels, "Conv2d: channels of norm");
    }
    std::fill_n(zeros.data(), zeros.size(), T(0));

    const double* const scale = norm.scale.empty() ? nullptr : norm.scale.data();
    std::vector<double> offset(shape.out_channels, 0.0);
    for (std::size_t o = 0; o < shape.out_channels && weight.is_known(); ++o) {
      const double own = bias.empty() ? 0.0 : static_cast<double>(bias[o]);
      offset[o] =
          (scale != nullptr ? scale[o] : 1.0) * own + (norm.shift.empty() ? 0.0 : norm.shift[o]);
    }
    const SharedBuffer<double> offsets(std::move(offset));
    const std::size_t layout_taps = taps_are_rows() ? shape.kernel : taps;
    const kernels::PanelLayout<T, Arch> layout{layout_taps, filter / layout_taps,
                                               shape.out_channels};
    const Precision precision = PackedWeights<T, Arch>::precision_of(layout, settings.precision);
    if (const std::size_t tile = winograd_tile(precision); tile > 0) {
      winograd = {tile,    shape.in_channels, shape.out_channels, weight, scale,
                  offsets, threads,           precision};
    } else if (taps_are_rows()) {
      const SharedBuffer<T> rows = weight.is_known() ? channels_last(weight) : weight;
      weights = PackedWeights<T, Arch>(
          layout, kernels::PanelSource<T>{rows.data(), layout.depth, 1, filter, scale}, offsets,
          threads, settings);
    } else {
      weights = PackedWeights<T, Arch>(
          layout, kernels::PanelSource<T>{weight.data(), 1, taps, filter, scale}, offsets, threads,
          settings);
    }
  }

  /// Results in a row of a Winograd tile, or 0 where the convolution is direct. Rounding a tile's
  /// weights to bf16 leaves too little of tiles of four, and to int8 of any; tile registers make
  /// products cheaper than transforms.
  [[nodiscard]] std::size_t winograd_tile(Precision precision) const noexcept {
    const bool fits = shape.kernel == 3 && shape.stride == 1 && shape.padding == 1;
    if (!fits || precision == Precision::int8) return 0;
    if (precision == Precision::bf16 && std::is_same_v<T, double>) return 0;  // the plain reference
    if (precision == Precision::bf16 && simd::has_amx<T, bfloat16, Arch>) return 0;
    const std::size_t fastest = fastest_winograd_tile(shape.in_channels, shape.out_channels);
    return precision == Precision::bf16 ? std::min<std::size_t>(fastest, 2) : fastest;
  }
  /// True where a tap is a whole kernel row: with few channels a pixel alone is too short a loop.
  [[nodiscard]] bool taps_are_rows() const noexcept {
    return shape.kernel > 1 && shape.in_channels < 16;
  }

  /// True where an output pixel needs one input pixel, at the same place.
  [[nodiscard]] bool is_pointwise() const noexcept {
    return shape.kernel == 1 && shape.stride == 1 && shape.padding == 0;
  }
  /// Whether it can read a narrow LeftOperand.
  [[nodiscard]] bool reads_narrow_input() const noexcept {
    return !taps_are_rows() && (shape.kernel > 1 || is_pointwise());
  }
  /// The form in which the product reads a narrow input; where taps are kernel rows, one that has
  /// its border already.
  [[nodiscard]] LeftOperandForm input_form() const noexcept {
    if (taps_are_rows()) return {};
    if (is_pointwise()) return LeftOperand<T, Arch>::row_form();
    if (!simd::has_amx<T, bfloat16, Arch>) return {.spare = 1};
    // The last tile is read to its end.
    return {shape.padding, shape.stride, simd::tile_rows * shape.stride};
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("weights", self.weights);
    visit("winograd", self.winograd);
  }

 private:
  /// [out, in, taps] -> [out, taps, in].
  [[nodiscard]] SharedBuffer<T> channels_last(const SharedBuffer<T>& weight) const {
    const std::size_t taps = shape.kernel * shape.kernel;
    std::vector<T> reordered(weight.size());
    for (std::size_t o = 0; o < shape.out_channels; ++o) {
      const std::size_t filter = o * taps * shape.in_channels;
      for (std::size_t c = 0; c < shape.in_channels; ++c) {
        for (std::size_t t = 0; t < taps; ++t) {
          reordered[filter + t * shape.in_channels + c] = weight[filter + c * taps + t];
        }
      }
    }
    return reordered;
  }
};

namespace detail {

/// `in` with a border of `padding` zero pixels, in workspace memory, pixels adjacent.
template <class T>
FeatureMap<T> copy_with_border(const Context& context, FeatureMap<const T> in,
                               std::size_t padding) {
  const FeatureMap<T> out = context.workspace.take_feature_map<T>(
      in.batch, in.height + 2 * padding, in.width + 2 * padding, in.channels);
  if (context.is_planning()) return out;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height - padding;  // wraps above the top
    T* to = out.pixel(n, row % out.height, 0);
    std::fill_n(to, out.width * out.channels, T(0));
    if (y >= in.height || in.width == 0) return;
    to += padding * out.channels;
    if (in.stride == in.channels) {
      std::copy_n(in.pixel(n, y, 0), in.width * in.channels, to);
      return;
    }
    for (std::size_t x = 0; x < in.width; ++x) {
      std::copy_n(in.pixel(n, y, x), in.channels, to + x * out.channels);
    }
  });
  return out;
}

/// The product of a convolution over an input in the form in which it reads it.
template <class T, class Arch, class W, class Out>
void convolve_narrow(const Context& context, const Conv2d<T, Arch>& layer,
                     const kernels::PanelMatrix<T, Arch, W>& panels, const LeftOperand<T, Arch>& in,
                     std::size_t out_height, std::size_t out_width, const OutputOptions<T>& options,
                     const Out& out) {
  using Left = typename simd::DotProduct<T, W, Arch>::Left;
  const Conv2dShape& shape = layer.shape;
  const FeatureMap<T>& map = in.map();
  const Left* const data = in.template data<Left>();
  const FeatureMap<const Left> pixels{data,      map.batch,    map.height,
                                      map.width, map.channels, in.pixel_stride()};
  const auto run = [&](const auto& rows) {
    multiply<T, Arch>(context, rows, panels, layer.weights.bias(), options, out);
  };
  if (layer.taps_are_rows()) {
    run(KernelRowRows<Left>{pixels, shape, out_height, out_width});
  } else if (panels.layout.taps == 1) {
    multiply_narrow<T, Arch>(context, in, panels, layer.weights.bias(), options, out);
  } else if constexpr (simd::has_amx<T, W, Arch>) {
    run(kernels::TiledRows<Left>{.data = data,
                                 .lines = map.batch * out_height,
                                 .line_rows = out_width,
                                 .row_stride = shape.stride * in.pixel_stride(),
                                 .line_stride = shape.stride * in.line_stride(),
                                 .image_lines = out_height,
                                 .image_stride = in.image_stride(),
                                 .kernel = shape.kernel,
                                 .tap_stride = in.pixel_stride(),
                                 .kernel_row_stride = in.line_stride()});
  } else {
    run(ConvolutionRows<Left>{pixels, shape, out_height, out_width, in.template zeros<Left>()});
  }
}

/// Where a product puts its results.
template <class T>
Matrix<T> product_output(const FeatureMap<T>& out) noexcept {
  return out.pixels();
}
template <class T, class Arch>
const LeftOperand<T, Arch>& product_output(const LeftOperand<T, Arch>& out) noexcept {
  return out;
}

/// A convolution of a map of T.
template <class T, class Arch, class Out>
void convolve_map(const Context& context, const Conv2d<T, Arch>& layer, FeatureMap<const T> in,
                  std::size_t out_height, std::size_t out_width, const OutputOptions<T>& options,
                  const Out& out) {
  const Conv2dShape& shape = layer.shape;
  const Workspace::Frame frame(context.workspace);
  const bool taps_are_rows = layer.taps_are_rows();
  if (taps_are_rows) in = copy_with_border<T>(context, in, shape.padding);
  layer.weights.visit([&]<class W>(const kernels::PanelMatrix<T, Arch, W>& panels) {
    if constexpr (reads_narrow<T, Arch, W>) {
      if (panels.layout.taps > 1 && panels.precision() != Precision::f32) {
        const LeftOperand<T, Arch> narrow(context, panels.precision(), panels.input, in,
                                          layer.input_form());
        narrow.fill(context, kernels::StridedRows<T>{in.data, in.stride});
        return convolve_narrow<T, Arch>(context, layer, panels, narrow, out_height, out_width,
                                        options, out);
      }
    }
    const auto run = [&](const auto& rows) {
      matmul<T, Arch>(context, rows, panels, layer.weights.bias(), options, out);
    };
    if (taps_are_rows) {
      run(KernelRowRows<T>{in, shape, out_height, out_width});
    } else if (layer.is_pointwise()) {
      run(kernels::StridedRows<T>{in.data, in.stride});
    } else {
      run(ConvolutionRows<T>{in, shape, out_height, out_width, layer.zeros.data()});
    }
  });
}

template <class T, class Arch>
void convolve_by_winograd(const Context& context, const WinogradConv2d<T, Arch>& layer,
                          FeatureMap<const T> in, const FeatureMap<T>& out,
                          const OutputOptions<T>& options) {
  winograd_conv2d<T, Arch>(context, layer, in, out, options);
}
template <class T, class Arch>
void convolve_by_winograd(const Context& context, const WinogradConv2d<T, Arch>& layer,
                          FeatureMap<const T> in, const LeftOperand<T, Arch>& out,
                          const OutputOptions<T>& options) {
  FeatureMap<T> map = out.map();
  if (!out.is_narrow()) return winograd_conv2d<T, Arch>(context, layer, in, map, options);
  const Workspace::Frame frame(context.workspace);
  map.data = context.workspace.take<T>(map.pixel_count() * map.channels);
  winograd_conv2d<T, Arch>(context, layer, in, map, options);
  out.fill(context, kernels::StridedRows<T>{map.data, map.stride});
}

}  // namespace detail

/// Room for the input of a convolution, a map of the size of `size`, whose data is not used.
template <class T, class Arch>
LeftOperand<T, Arch> conv2d_input(const Context& context, const Conv2d<T, Arch>& reader,
                                  const FeatureMap<const T>& size) {
  if (!reader.reads_narrow_input()) return LeftOperand<T, Arch>::plain(context, size);
  return {context, reader.weights, size, reader.input_form()};
}

/// out [N, H', W', out_channels] = activation(conv(in [N, H, W, in_channels]) + bias + residual),
/// H' = shape.output(H). `in` may be the LeftOperand of this layer and `out` that of another, made
/// by `conv2d_input`. Error as `linear` of the layer's precision with in_features =
/// kernel^2 in_channels, or as `winograd_conv2d`. Throws Error bad_argument when shapes do not fit
/// or `in` was made for another layer.
template <class T, class Arch, class In = FeatureMap<const T>, class Out = FeatureMap<T>>
void conv2d(const Context& context, const Conv2d<T, Arch>& layer, const In& in, const Out& out,
            const OutputOptions<T>& options = {}) {
  const Conv2dShape& shape = layer.shape;
  const FeatureMap<const T> from = map_of(in);
  const FeatureMap<const T> to = map_of(out);
  require_equal(from.channels, shape.in_channels, "conv2d: channels of in");
  require_equal(to.channels, shape.out_channels, "conv2d: channels of out");
  require_equal(to.batch, from.batch, "conv2d: batch of out");
  require_equal(to.height, shape.output(from.height), "conv2d: height of out");
  require_equal(to.width, shape.output(from.width), "conv2d: width of out");
  if constexpr (std::is_same_v<In, LeftOperand<T, Arch>>) {
    if (in.is_narrow()) {
      require_argument(layer.reads_narrow_input(), "conv2d", "the layer reads no narrow operand");
      detail::visit_narrow(
          layer.weights, in, layer.input_form(), "conv2d", [&](const auto& panels) {
            detail::convolve_narrow<T, Arch>(context, layer, panels, in, to.height, to.width,
                                             options, detail::product_output(out));
          });
      return;  // an observer sees no narrow maps
    }
  }
  if (layer.winograd.tile() > 0) {
    detail::convolve_by_winograd<T, Arch>(context, layer.winograd, from, out, options);
  } else {
    detail::convolve_map<T, Arch>(context, layer, from, to.height, to.width, options,
                                  detail::product_output(out));
  }
  context.observe<T>(layer.name, from.pixels(), to.pixels());
}

}  // namespace q2l::ops
