// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "operands.hpp"
#include "query2label/core/context.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/depthwise_conv2d.hpp"
#include "shape_file.hpp"

namespace q2l::benchmarks {

/// A convolution, or one with a group per channel, with its operands, ready to run.
template <bool IsDepthwise>
class Conv2dCase {
 public:
  Conv2dCase(const LayerShape& shape, const ProductSettings& settings)
      : shape_(shape_of(shape)),
        height_(shape.sizes[shape.sizes.size() - 2]),
        width_(shape.sizes[shape.sizes.size() - 1]),
        weight_(counter_random("weight", shape_.out_channels * terms(), 0,
                               std::sqrt(3.0 / static_cast<double>(terms())), 1)),
        layer_(make_layer(settings)),
        in_(made_up(height_ * width_ * shape_.in_channels)),
        out_(shape_.output(height_) * shape_.output(width_) * shape_.out_channels) {}

  void run(const Context& context) {
    const FeatureMap<const float> in{in_.data(), 1, height_, width_, shape_.in_channels};
    const FeatureMap<float> out{out_.data(), 1, shape_.output(height_), shape_.output(width_),
                                shape_.out_channels};
    if constexpr (IsDepthwise) {
      ops::depthwise_conv2d<float, simd::DefaultArch>(context, layer_, in, out);
    } else {
      ops::conv2d<float, simd::DefaultArch>(context, layer_, in, out);
    }
  }

  /// In which it is computed: not every product can be narrow.
  [[nodiscard]] Precision precision() const {
    if constexpr (!IsDepthwise) {
      if (!layer_.weights.empty()) return layer_.weights.precision();
      if (layer_.winograd.is_bfloat16()) return Precision::bf16;
    }
    return Precision::f32;
  }

  [[nodiscard]] bool is_right() const {
    return samples_agree(out_.size(), [&](std::size_t element) {
      return agrees(static_cast<double>(out_[element]), convolved(element), terms(), precision());
    });
  }

 private:
  using Layer = std::conditional_t<IsDepthwise, ops::DepthwiseConv2d<float>,
                                   ops::Conv2d<float, simd::DefaultArch>>;

  static ops::Conv2dShape shape_of(const LayerShape& shape) {
    const auto& s = shape.sizes;
    if (IsDepthwise) return {s[0], s[0], s[1], s[2], s[3]};
    return {s[0], s[1], s[2], s[3], s[4]};
  }

  Layer make_layer(const ProductSettings& settings) const {
    if constexpr (IsDepthwise) {
      const std::vector<double> one(shape_.out_channels, 1.0), zero(shape_.out_channels, 0.0);
      return {
          {shape_.in_channels, shape_.kernel, shape_.stride, shape_.padding}, weight_, {one, zero}};
    } else {
      return {shape_, weight_, SharedBuffer<float>(), ops::ChannelAffine{}, Threads{}, settings};
    }
  }

  /// Input channels that an output channel sees.
  [[nodiscard]] std::size_t depth() const { return IsDepthwise ? 1 : shape_.in_channels; }
  [[nodiscard]] std::size_t terms() const { return depth() * shape_.kernel * shape_.kernel; }

  [[nodiscard]] double convolved(std::size_t element) const {
    const std::size_t o = element % shape_.out_channels;
    const std::size_t x = element / shape_.out_channels % shape_.output(width_);
    const std::size_t y = element / shape_.out_channels / shape_.output(width_);
    double sum = 0;
    for (std::size_t r = 0; r < shape_.kernel; ++r) {
      for (std::size_t s = 0; s < shape_.kernel; ++s) {
        const std::size_t in_y = y * shape_.stride + r - shape_.padding;  // wraps above the top
        const std::size_t in_x = x * shape_.stride + s - shape_.padding;
        if (in_y >= height_ || in_x >= width_) continue;
        for (std::size_t c = 0; c < depth(); ++c) {
          const std::size_t tap = ((o * depth() + c) * shape_.kernel + r) * shape_.kernel + s;
          const std::size_t pixel = (in_y * width_ + in_x) * shape_.in_channels;
          sum += static_cast<double>(in_[pixel + (IsDepthwise ? o : c)]) *
                 static_cast<double>(weight_[tap]);
        }
      }
    }
    return sum;
  }

  ops::Conv2dShape shape_;
  std::size_t height_, width_;  ///< of the input
  std::vector<float> weight_;
  Layer layer_;
  AlignedBuffer<float> in_, out_;
};

}  // namespace q2l::benchmarks
