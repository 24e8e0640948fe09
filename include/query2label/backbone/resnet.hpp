// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/conv2d_max_pool2d.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/max_pool2d.hpp"
#include "query2label/weights/layer_loading.hpp"
#include "query2label/weights/shape_inference.hpp"

namespace q2l {

/// Sizes of a ResNet (arXiv 1512.03385, in torchvision's v1.5: a stage's stride sits on a 3x3
/// convolution). The stem and the first stage's blocks have `width` channels, each later stage
/// twice those of the one before; a bottleneck block puts out four times its channels.
struct ResNetShape {
  static constexpr std::size_t stride = 32;   ///< pixels of the picture for one of the features
  static constexpr bool unit_pixels = false;  ///< trained on normalised pixels, not on 0..1

  bool bottleneck = false;
  std::array<std::size_t, 4> layers{2, 2, 2, 2};
  std::size_t width = 64;

  [[nodiscard]] std::size_t stage_channels(std::size_t stage) const noexcept {
    return (width << stage) * (bottleneck ? 4 : 1);
  }
  bool operator==(const ResNetShape&) const = default;
};

/// The shape of the ResNet whose tensors `weights` holds, from their names and sizes alone.
inline ResNetShape infer_resnet_shape(const WeightMap& weights) {
  const std::string root = "backbone.0.body.";
  ResNetShape shape;
  shape.bottleneck = weights.contains(root + "layer1.0.conv3.weight");
  shape.width = tensor_extent(weights, root + "conv1.weight", 0);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    shape.layers[stage] =
        count_numbered(weights, root + "layer" + std::to_string(stage + 1) + ".", ".conv1.weight");
  }
  return shape;
}

template <class T, class Arch>
class ResNet {
 public:
  using Shape = ResNetShape;

  /// Reads `backbone.0.body.*`, batch norm folded into the convolutions.
  /// Throws Error bad_config when the shape makes no sense.
  static ResNet load(WeightMap& weights, const ResNetShape& shape) {
    if (shape.width == 0 || std::ranges::count(shape.layers, std::size_t{0}) > 0) {
      throw Error(ErrorCode::bad_config, "a ResNet needs channels and a block in every stage",
                  {.subject = "ResNet"});
    }
    ResNet net;
    net.shape_ = shape;
    const std::string root = "backbone.0.body.";
    net.stem_ = load_conv_norm(weights, root + "conv1", root + "bn1", {3, shape.width, 7, 2, 3});
    std::size_t in = shape.width;
    for (std::size_t stage = 0; stage < 4; ++stage) {
      for (std::size_t i = 0; i < shape.layers[stage]; ++i) {
        const std::string prefix =
            root + "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
        const std::size_t out = shape.stage_channels(stage);
        net.blocks_.push_back(load_block(weights, prefix, in, shape.width << stage, out,
                                         stage > 0 && i == 0 ? 2 : 1));
        in = out;
      }
    }
    return net;
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("stem", self.stem_);
    visit("blocks", self.blocks_);
  }

  [[nodiscard]] static constexpr std::size_t stride() noexcept { return Shape::stride; }
  [[nodiscard]] std::size_t channels() const noexcept { return shape_.stage_channels(3); }

  /// out [N, H / 32, W / 32, channels()] from a normalised picture [N, H, W, 3].
  /// Throws Error bad_argument when shapes do not fit.
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> out) const {
    const Workspace::Frame frame(context.workspace);
    const std::size_t largest = largest_output(image);
    std::array<T*, 2> buffers{context.workspace.take<T>(largest),
                              context.workspace.take<T>(largest)};

    FeatureMap<T> x = pooled_stem(image, buffers[1]);
    ops::conv2d_max_pool2d<T, Arch>(context, stem_, Activation::relu(), pool, image, x);
    std::size_t free_buffer = 0;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      const std::size_t step = block.stride();
      const bool last = i + 1 == blocks_.size();
      FeatureMap<T> y = x;  // a block adds to its input in place, unless the shortcut changes it
      if (block.downsample) {
        y = {buffers[free_buffer], x.batch, halved(x.height, step), halved(x.width, step),
             block.convolutions.back().shape.out_channels};
        free_buffer = 1 - free_buffer;
      }
      if (last) {
        require_equal(out.height, y.height, "ResNet: height of out");
        require_equal(out.width, y.width, "ResNet: width of out");
        require_equal(out.channels, y.channels, "ResNet: channels of out");
        y = out;
      }
      run_block(context, block, x, y);
      x = y;
    }
  }

 private:
  struct Block {
    template <class Self, class Visitor>
    static void visit_buffers(Self& self, Visitor& visit) {
      visit("convolutions", self.convolutions);
      visit("downsample", self.downsample);
    }

    std::vector<ops::Conv2d<T, Arch>> convolutions;  ///< two 3x3, or 1x1, 3x3, 1x1
    std::optional<ops::Conv2d<T, Arch>> downsample;

    [[nodiscard]] std::size_t stride() const noexcept {
      std::size_t product = 1;
      for (const auto& conv : convolutions) product *= conv.shape.stride;
      return product;
    }
  };

  static constexpr ops::Pool2dShape pool{3, 2, 1};
  static inline const ops::OutputOptions<T> relu{.activation = Activation::relu()};

  static constexpr std::size_t halved(std::size_t extent, std::size_t step) noexcept {
    return (extent + step - 1) / step;
  }

  static ops::Conv2d<T, Arch> load_conv_norm(WeightMap& weights, const std::string& conv,
                                             const std::string& norm,
                                             const ops::Conv2dShape& shape) {
    return load_conv2d<T, Arch>(weights, conv, shape, false,
                                load_batch_norm<T>(weights, norm, shape.out_channels));
  }

  static Block load_block(WeightMap& weights, const std::string& prefix, std::size_t in,
                          std::size_t mid, std::size_t out, std::size_t step) {
    Block block;
    const auto add = [&](const ops::Conv2dShape& shape) {
      const std::string number = std::to_string(block.convolutions.size() + 1);
      block.convolutions.push_back(
          load_conv_norm(weights, prefix + "conv" + number, prefix + "bn" + number, shape));
    };
    if (out == mid) {
      add({in, mid, 3, step, 1});
      add({mid, out, 3, 1, 1});
    } else {
      add({in, mid, 1, 1, 0});
      add({mid, mid, 3, step, 1});
      add({mid, out, 1, 1, 0});
    }
    if (step != 1 || in != out) {
      block.downsample = load_conv_norm(weights, prefix + "downsample.0", prefix + "downsample.1",
                                        {in, out, 1, step, 0});
    }
    return block;
  }

  static FeatureMap<T> map_like(const ops::Conv2d<T, Arch>& conv, FeatureMap<const T> in, T* data) {
    return {data, in.batch, conv.shape.output(in.height), conv.shape.output(in.width),
            conv.shape.out_channels};
  }

  /// The map that the stem makes of a picture.
  [[nodiscard]] FeatureMap<T> pooled_stem(FeatureMap<const T> image, T* data) const {
    FeatureMap<T> out = map_like(stem_, image, data);
    out.height = pool.output(out.height);
    out.width = pool.output(out.width);
    return out;
  }

  /// Elements of the largest output of the stem and the blocks.
  [[nodiscard]] std::size_t largest_output(FeatureMap<const T> image) const noexcept {
    FeatureMap<const T> x = pooled_stem(image, nullptr);
    std::size_t largest = x.pixel_count() * x.channels;
    for (const Block& block : blocks_) {
      for (const auto& conv : block.convolutions) x = map_like(conv, x, nullptr);
      largest = std::max(largest, x.pixel_count() * x.channels);
    }
    return largest;
  }

  static void run_block(const Context& context, const Block& block, FeatureMap<const T> x,
                        FeatureMap<T> out) {
    FeatureMap<const T> shortcut = x;
    if (block.downsample) {
      ops::conv2d<T, Arch>(context, *block.downsample, x, out);
      shortcut = out;
    }
    const Workspace::Frame frame(context.workspace);
    const auto& convolutions = block.convolutions;
    const auto run = [&](std::size_t i, const auto& in, const FeatureMap<const T>& size) {
      const ops::LeftOperand<T, Arch> y = ops::conv2d_input<T, Arch>(
          context, convolutions[i + 1], map_like(convolutions[i], size, nullptr));
      ops::conv2d<T, Arch>(context, convolutions[i], in, y, relu);
      return y;
    };
    ops::LeftOperand<T, Arch> y = run(0, x, x);
    for (std::size_t i = 1; i + 1 < convolutions.size(); ++i) y = run(i, y, y.map());
    ops::conv2d<T, Arch>(context, convolutions.back(), y, out,
                         {.activation = Activation::relu(), .residual = shortcut.pixels()});
  }

  ResNetShape shape_;
  ops::Conv2d<T, Arch> stem_;
  std::vector<Block> blocks_;
};

}  // namespace q2l
