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
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tile_matmul_kernel.hpp"
#include "query2label/ops/batch_norm.hpp"
#include "query2label/ops/matmul.hpp"
#include "query2label/ops/packed_weights.hpp"
#include "query2label/ops/winograd_conv2d.hpp"
#include "query2label/simd/amx_tiles.hpp"

namespace q2l::ops {

struct Conv2dShape {
  std::size_t in_channels = 0;
  std::size_t out_channels = 0;
  std::size_t kernel = 1;  ///< height and width
  std::size_t stride = 1;
  std::size_t padding = 0;

  /// Output height (width) for an input height (width); 0 where the kernel does not fit.
  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    return input + 2 * padding < kernel ? 0 : (input + 2 * padding - kernel) / stride + 1;
  }
};

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
  /// result, or has empty vectors. Throws Error bad_argument when sizes do not fit.
  Conv2d(const Conv2dShape& shape_, const SharedBuffer<T>& weight, const SharedBuffer<T>& bias,
         const ChannelAffine& norm = {}, const Threads& threads = {},
         const ProductSettings& settings = {})
      : shape(shape_), name(settings.name), zeros(shape_.in_channels) {
    const std::size_t taps = shape.kernel * shape.kernel;
    const std::size_t filter = shape.in_channels * taps;
    require_equal(weight.size(), shape.out_channels * filter, "Conv2d: elements of weight");
    if (!bias.empty()) require_equal(bias.size(), shape.out_channels, "Conv2d: elements of bias");
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

/// Row source of a convolution: row i is output pixel i; tap t is kernel position t.
template <class T>
struct ConvolutionRows {
  FeatureMap<const T> in;
  Conv2dShape shape;
  std::size_t out_height, out_width;
  const T* zeros;

  void pointers(std::size_t first, std::size_t count, std::size_t first_tap, std::size_t taps,
                const T** out) const noexcept {
    std::size_t x = first % out_width;
    std::size_t y = first / out_width % out_height;
    std::size_t n = first / out_width / out_height;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t r = first_tap / shape.kernel;
      std::size_t s = first_tap % shape.kernel;
      for (std::size_t t = 0; t < taps; ++t) {
        const std::size_t in_y = y * shape.stride + r - shape.padding;  // wraps above the top
        const std::size_t in_x = x * shape.stride + s - shape.padding;
        out[t * count + i] = in_y < in.height && in_x < in.width ? in.pixel(n, in_y, in_x) : zeros;
        if (++s == shape.kernel) {
          s = 0;
          ++r;
        }
      }
      if (++x == out_width) {
        x = 0;
        if (++y == out_height) {
          y = 0;
          ++n;
        }
      }
    }
  }
  [[nodiscard]] Matrix<const T> pixels() const noexcept { return in.pixels(); }
  /// The same over other pixels, adjacent, one of them zero.
  template <class Left>
  [[nodiscard]] ConvolutionRows<Left> over(const Left* copy,
                                           const Left* zero_pixel) const noexcept {
    return {{copy, in.batch, in.height, in.width, in.channels},
            shape,
            out_height,
            out_width,
            zero_pixel};
  }
  /// The left operand of `b` on tile registers: the map with a border, in workspace memory.
  template <class Arch, class W>
  [[nodiscard]] auto tiled(const Context& context,
                           const kernels::PanelMatrix<T, Arch, W>& b) const {
    using Left = typename simd::AmxTiles<W>::Left;
    const std::size_t pixel = round_up(in.channels, simd::tile_bytes / sizeof(Left));
    const std::size_t height = in.height + 2 * shape.padding;
    const std::size_t line = (in.width + 2 * shape.padding) * pixel;
    const std::size_t step = shape.stride * pixel;
    Left* const border = context.workspace.template take<Left>(pixel);
    // The last tile is read to its end.
    Left* const data =
        context.workspace.template take<Left>(in.batch * height * line + simd::tile_rows * step);
    if (!context.is_planning()) {
      const auto convert = [&](const T* from, Left* to) {
        kernels::convert_left_row(b, from, in.channels, to);
        std::fill_n(to + in.channels, pixel - in.channels, Left{});
      };
      convert(zeros, border);
      context.parallel_for(in.batch * height, [&](std::size_t row, std::size_t) {
        const std::size_t y = row % height - shape.padding;  // wraps above the top
        for (std::size_t i = 0; i < line / pixel; ++i) {
          const std::size_t x = i - shape.padding;
          Left* const to = data + row * line + i * pixel;
          if (y < in.height && x < in.width) {
            convert(in.pixel(row / height, y, x), to);
          } else {
            std::copy_n(border, pixel, to);
          }
        }
      });
    }
    return kernels::TiledRows<Left>{
        .data = data,
        .lines = in.batch * out_height,
        .line_rows = out_width,
        .row_stride = step,
        .line_stride = shape.stride * line,
        .image_lines = out_height,
        .image_stride = height * line,
        .kernel = shape.kernel,
        .tap_stride = pixel,
        .kernel_row_stride = line,
    };
  }
};

/// Row source of a convolution whose taps are kernel rows; `in` carries its zero border.
template <class T>
struct KernelRowRows {
  FeatureMap<const T> in;
  Conv2dShape shape;
  std::size_t out_height, out_width;

  void pointers(std::size_t first, std::size_t count, std::size_t first_tap, std::size_t taps,
                const T** out) const noexcept {
    std::size_t x = first % out_width;
    std::size_t y = first / out_width % out_height;
    std::size_t n = first / out_width / out_height;
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t t = 0; t < taps; ++t) {
        out[t * count + i] = in.pixel(n, y * shape.stride + first_tap + t, x * shape.stride);
      }
      if (++x < out_width) continue;
      x = 0;
      if (++y < out_height) continue;
      y = 0;
      ++n;
    }
  }
  [[nodiscard]] Matrix<const T> pixels() const noexcept { return in.pixels(); }
  template <class Left>
  [[nodiscard]] KernelRowRows<Left> over(const Left* copy, const Left*) const noexcept {
    return {{copy, in.batch, in.height, in.width, in.channels}, shape, out_height, out_width};
  }
};

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

}  // namespace detail

/// out [N, H', W', out_channels] = activation(conv(in [N, H, W, in_channels]) + bias + residual),
/// H' = shape.output(H). Error as `linear` with in_features = kernel^2 in_channels,
/// or as `winograd_conv2d`.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void conv2d(const Context& context, const Conv2d<T, Arch>& layer, FeatureMap<const T> in,
            FeatureMap<T> out, const OutputOptions<T>& options = {}) {
  const Conv2dShape& shape = layer.shape;
  require_equal(in.channels, shape.in_channels, "conv2d: channels of in");
  require_equal(out.channels, shape.out_channels, "conv2d: channels of out");
  require_equal(out.batch, in.batch, "conv2d: batch of out");
  require_equal(out.height, shape.output(in.height), "conv2d: height of out");
  require_equal(out.width, shape.output(in.width), "conv2d: width of out");
  const auto run = [&](const auto& rows) {
    matmul<T, Arch>(context, rows, layer.weights, options, out.pixels());
  };
  if (layer.winograd.tile() > 0) {
    winograd_conv2d<T, Arch>(context, layer.winograd, in, out, options);
  } else if (layer.taps_are_rows()) {
    const Workspace::Frame frame(context.workspace);
    const FeatureMap<T> bordered = detail::copy_with_border<T>(context, in, shape.padding);
    run(detail::KernelRowRows<T>{bordered, shape, out.height, out.width});
  } else if (shape.kernel == 1 && shape.stride == 1 && shape.padding == 0) {
    run(kernels::StridedRows<T>{in.data, in.stride});
  } else {
    run(detail::ConvolutionRows<T>{in, shape, out.height, out.width, layer.zeros.data()});
  }
  context.observe<T>(layer.name, in.pixels(), out.pixels());
}

}  // namespace q2l::ops
