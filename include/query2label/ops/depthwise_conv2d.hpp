// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/depthwise_kernel.hpp"
#include "query2label/ops/batch_norm.hpp"
#include "query2label/ops/sliding_window.hpp"

namespace q2l::ops {

struct DepthwiseConv2dShape {
  std::size_t channels = 0;
  std::size_t kernel = 3;  ///< height and width
  std::size_t stride = 1;
  std::size_t padding = 1;

  /// Output height (width) for an input height (width); 0 where no window fits.
  [[nodiscard]] constexpr std::size_t output(std::size_t input) const noexcept {
    return window_positions(input, kernel, stride, padding);
  }
};

/// torch.nn.Conv2d with a group per channel and without bias, and the batch norm behind it folded
/// in.
template <class T>
struct DepthwiseConv2d {
  static constexpr std::size_t most_taps = 64;

  DepthwiseConv2dShape shape;
  SharedBuffer<T> filters;  ///< [kernel * kernel, C]
  SharedBuffer<T> bias;     ///< [C]

  DepthwiseConv2d() = default;

  /// `weight` [C, 1, kernel, kernel] row-major, `norm` of C channels.
  /// Throws Error bad_argument when sizes do not fit or the kernel or stride is 0.
  DepthwiseConv2d(const DepthwiseConv2dShape& shape_, const SharedBuffer<T>& weight,
                  const ChannelAffine& norm)
      : shape(shape_),
        filters(SharedBuffer<T>::to_come(weight.size())),
        bias(SharedBuffer<T>::to_come(shape_.channels)) {
    require_window(shape.kernel, shape.stride, "DepthwiseConv2d");
    const std::size_t taps = shape.kernel * shape.kernel;
    require_argument(taps <= most_taps, "DepthwiseConv2d", "the kernel is larger than 8 x 8");
    require_equal(weight.size(), shape.channels * taps, "DepthwiseConv2d: elements of weight");
    require_equal(norm.scale.size(), shape.channels, "DepthwiseConv2d: scales of norm");
    require_equal(norm.shift.size(), shape.channels, "DepthwiseConv2d: shifts of norm");
    if (!weight.is_known()) return;
    AlignedBuffer<T> scaled(weight.size());
    AlignedBuffer<T> shift(shape.channels);
    for (std::size_t c = 0; c < shape.channels; ++c) {
      for (std::size_t t = 0; t < taps; ++t) {
        scaled[t * shape.channels + c] =
            static_cast<T>(norm.scale[c] * static_cast<double>(weight[c * taps + t]));
      }
      shift[c] = static_cast<T>(norm.shift[c]);
    }
    filters = std::move(scaled);
    bias = std::move(shift);
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("filters", self.filters);
    visit("bias", self.bias);
  }
};

/// out [N, H', W', C] = norm(conv(in [N, H, W, C])), H' = shape.output(H). Error of an element: at
/// most (kernel^2 + 1) eps times the sum of the magnitudes added.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void depthwise_conv2d(const Context& context, const DepthwiseConv2d<T>& layer,
                      FeatureMap<const T> in, FeatureMap<T> out) {
  const DepthwiseConv2dShape& shape = layer.shape;
  require_equal(in.channels, shape.channels, "depthwise_conv2d: channels of in");
  require_equal(out.channels, shape.channels, "depthwise_conv2d: channels of out");
  require_equal(out.batch, in.batch, "depthwise_conv2d: batch of out");
  require_equal(out.height, shape.output(in.height), "depthwise_conv2d: height of out");
  require_equal(out.width, shape.output(in.width), "depthwise_conv2d: width of out");
  if (context.is_planning()) return;
  context.parallel_for(out.batch * out.height, [&](std::size_t row, std::size_t) {
    const std::size_t n = row / out.height;
    const std::size_t y = row % out.height;
    const T* pixels[DepthwiseConv2d<T>::most_taps];
    const T* filters[DepthwiseConv2d<T>::most_taps];
    for (std::size_t x = 0; x < out.width; ++x) {
      std::size_t taps = 0;
      for (std::size_t r = 0; r < shape.kernel; ++r) {
        const std::size_t in_y = y * shape.stride + r - shape.padding;  // wraps above the top
        if (in_y >= in.height) continue;
        for (std::size_t s = 0; s < shape.kernel; ++s) {
          const std::size_t in_x = x * shape.stride + s - shape.padding;
          if (in_x >= in.width) continue;
          pixels[taps] = in.pixel(n, in_y, in_x);
          filters[taps++] = layer.filters.data() + (r * shape.kernel + s) * shape.channels;
        }
      }
      kernels::depthwise_pixel<T, Arch>(pixels, filters, taps, layer.bias.data(),
                                        out.pixel(n, y, x), shape.channels);
    }
  });
}

}  // namespace q2l::ops
