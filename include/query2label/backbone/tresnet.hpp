// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "query2label/backbone/require_feature_shape.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/avg_pool2d.hpp"
#include "query2label/ops/blur_pool2d.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/left_operand.hpp"
#include "query2label/ops/space_to_depth.hpp"
#include "query2label/ops/squeeze_excite.hpp"
#include "query2label/weights/layer_loading.hpp"
#include "query2label/weights/shape_inference.hpp"

namespace q2l {

/// Sizes of a TResNet (arXiv 2003.13630). The stem and the first stage's blocks have `width`
/// channels, each later stage twice those of the one before; a bottleneck block puts out four times
/// its channels. All stages but the last have squeeze-and-excitation.
struct TResNetShape {
  static constexpr std::size_t stride = 32;  ///< pixels of the picture for one of the features
  static constexpr bool unit_pixels = true;  ///< trained on pixels of 0..1

  std::array<std::size_t, 4> layers{4, 5, 18, 3};
  std::size_t width = 76;
  std::array<bool, 4> bottleneck{false, false, true, true};  ///< the kind of a stage's blocks

  /// `width_factor` as the paper counts it, in units of 64 channels.
  static constexpr TResNetShape sized(const std::array<std::size_t, 4>& layers, double width_factor,
                                      const std::array<bool, 4>& bottleneck) noexcept {
    return {layers, static_cast<std::size_t>(64 * width_factor), bottleneck};
  }
  static constexpr TResNetShape large() noexcept {
    return sized({4, 5, 18, 3}, 1.2, {false, false, true, true});
  }
  static constexpr TResNetShape extra_large() noexcept {
    return sized({4, 5, 24, 3}, 1.3, {false, false, true, true});
  }
  /// That of the ImageNet-22k weights.
  static constexpr TResNetShape large_v2() noexcept {
    return sized({3, 4, 23, 3}, 1.0, {true, true, true, true});
  }

  [[nodiscard]] constexpr std::size_t stage_channels(std::size_t stage) const noexcept {
    return (width << stage) * (bottleneck[stage] ? 4 : 1);
  }
  bool operator==(const TResNetShape&) const = default;
};

/// The shape of the TResNet whose tensors `weights` holds, from their names and sizes alone.
inline TResNetShape infer_tresnet_shape(const WeightMap& weights) {
  const std::string root = "backbone.0.body.body.";
  TResNetShape shape;
  shape.width = tensor_extent(weights, root + "conv1.0.weight", 0);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::string blocks = root + "layer" + std::to_string(stage + 1) + ".";
    shape.bottleneck[stage] = weights.contains(blocks + "0.conv3.0.weight");
    shape.layers[stage] = count_numbered(
        weights, blocks, shape.bottleneck[stage] ? ".conv3.0.weight" : ".conv2.0.weight");
  }
  return shape;
}

template <class T, class Arch>
class TResNet {
 public:
  using Shape = TResNetShape;

  /// Reads `backbone.0.body.body.*`, in-place ABN folded into the convolutions.
  /// Throws Error bad_config when the shape makes no sense.
  static TResNet load(WeightMap& weights, const TResNetShape& shape) {
    if (shape.width == 0 || std::ranges::count(shape.layers, std::size_t{0}) > 0) {
      throw Error(ErrorCode::bad_config, "a TResNet needs channels and a block in every stage",
                  {.subject = "TResNet"});
    }
    const std::string root = "backbone.0.body.body.";
    TResNet net;
    net.shape_ = shape;
    net.stem_ = load_conv_norm(weights, root + "conv1",
                               {3 * stem_block * stem_block, shape.width, 3, 1, 1});
    std::size_t in = shape.width;
    for (std::size_t stage = 0; stage < 4; ++stage) {
      for (std::size_t i = 0; i < shape.layers[stage]; ++i) {
        const std::string prefix =
            root + "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
        net.blocks_.push_back(load_block(weights, prefix, shape, stage, in, stage > 0 && i == 0));
        in = shape.stage_channels(stage);
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

  /// out [N, H / 32, W / 32, channels()] from a picture [N, H, W, 3] of any sides that are
  /// multiples of 32. Throws Error bad_argument when shapes do not fit.
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> out) const {
    detail::require_feature_shape<T>("TResNet", stride(), channels(), image, out);

    const Workspace::Frame frame(context.workspace);
    const std::size_t largest = largest_output(image.pixel_count());
    const std::array<T*, 2> buffers{context.workspace.take<T>(largest),
                                    context.workspace.take<T>(largest)};
    FeatureMap<T> x{buffers[0], image.batch, image.height / stem_block, image.width / stem_block,
                    shape_.width};
    run_stem(context, image, x);
    std::size_t free_buffer = 1;
    for (const Block& block : blocks_) {
      FeatureMap<T> y = x;  // a block adds to its input in place, unless the shortcut changes it
      if (block.downsample) {
        const std::size_t pool = block.is_halving ? 2 : 1;
        y = {buffers[free_buffer], x.batch, x.height / pool, x.width / pool, block.out_channels()};
        free_buffer = 1 - free_buffer;
      }
      if (&block == &blocks_.back()) y = out;
      run_block(context, block, x, y);
      x = y;
    }
  }

 private:
  struct Block {
    template <class Self, class Visitor>
    static void visit_buffers(Self& self, Visitor& visit) {
      visit("convolutions", self.convolutions);
      visit("squeeze_excite", self.squeeze_excite);
      visit("downsample", self.downsample);
    }

    std::vector<ops::Conv2d<T, Arch>> convolutions;             ///< two 3x3, or 1x1, 3x3, 1x1
    std::optional<ops::SqueezeExcite<T, Arch>> squeeze_excite;  ///< behind the last 3x3
    std::optional<ops::Conv2d<T, Arch>> downsample;
    bool is_halving = false;  ///< a blur pool follows the first 3x3, an average pool the shortcut

    [[nodiscard]] bool is_bottleneck() const noexcept { return convolutions.size() == 3; }
    [[nodiscard]] std::size_t out_channels() const noexcept {
      return convolutions.back().shape.out_channels;
    }
  };

  static constexpr std::size_t stem_block = 4;
  static inline const ops::OutputOptions<T> stem_activation{.activation =
                                                                Activation::leaky_relu(1e-2)};
  static inline const ops::OutputOptions<T> inner_activation{.activation =
                                                                 Activation::leaky_relu(1e-3)};

  /// A convolution `prefix`.0 and its norm `prefix`.1.
  static ops::Conv2d<T, Arch> load_conv_norm(WeightMap& weights, const std::string& prefix,
                                             const ops::Conv2dShape& shape) {
    return load_conv2d<T, Arch>(weights, prefix + ".0", shape, false,
                                load_in_place_abn<T>(weights, prefix + ".1", shape.out_channels));
  }

  static Block load_block(WeightMap& weights, const std::string& prefix, const TResNetShape& shape,
                          std::size_t stage, std::size_t in, bool is_halving) {
    const std::size_t mid = shape.width << stage;
    const std::size_t out = shape.stage_channels(stage);
    const bool is_bottleneck = shape.bottleneck[stage];
    Block block;
    block.is_halving = is_halving;
    // Before a blur pool PyTorch's names have one level more.
    const std::string pooled = is_halving ? ".0" : "";
    const auto add = [&](const std::string& name, const ops::Conv2dShape& conv) {
      block.convolutions.push_back(load_conv_norm(weights, prefix + name, conv));
    };
    if (is_bottleneck) {
      add("conv1", {in, mid, 1, 1, 0});
      add("conv2" + pooled, {mid, mid, 3, 1, 1});
      add("conv3", {mid, out, 1, 1, 0});
    } else {
      add("conv1" + pooled, {in, mid, 3, 1, 1});
      add("conv2", {mid, out, 3, 1, 1});
    }
    if (stage < 3) {
      const std::size_t squeezed = std::max<std::size_t>(out / (is_bottleneck ? 8 : 4), 64);
      block.squeeze_excite = load_squeeze_excite<T, Arch>(weights, prefix + "se", mid, squeezed);
    }
    if (is_halving || in != out) {
      block.downsample = load_conv_norm(
          weights, prefix + (is_halving ? "downsample.1" : "downsample.0"), {in, out, 1, 1, 0});
    }
    return block;
  }

  /// Elements of the largest output of the stem and the blocks for a batch of so many pixels.
  [[nodiscard]] std::size_t largest_output(std::size_t pixels) const noexcept {
    pixels /= stem_block * stem_block;
    std::size_t largest = pixels * shape_.width;
    for (std::size_t stage = 0; stage < 4; ++stage, pixels /= 4) {
      largest = std::max(largest, pixels * shape_.stage_channels(stage));
    }
    return largest;
  }

  void run_stem(const Context& context, FeatureMap<const T> image, FeatureMap<T> out) const {
    const Workspace::Frame frame(context.workspace);
    const FeatureMap<T> blocks = context.workspace.take_feature_map<T>(
        out.batch, out.height, out.width, stem_.shape.in_channels);
    ops::space_to_depth<T>(context, stem_block, image, blocks);
    ops::conv2d<T, Arch>(context, stem_, blocks, out, stem_activation);
  }

  using Operand = ops::LeftOperand<T, Arch>;

  /// `conv` of `x` in workspace memory, for the convolution `reader` or, if null, other ops.
  template <class In>
  static Operand convolve(const Context& context, const ops::Conv2d<T, Arch>& conv, const In& x,
                          const ops::OutputOptions<T>& options,
                          const ops::Conv2d<T, Arch>* reader) {
    FeatureMap<const T> size = ops::map_of(x);
    size.channels = conv.shape.out_channels;
    const Operand y = reader != nullptr ? ops::conv2d_input<T, Arch>(context, *reader, size)
                                        : Operand::plain(context, size);
    ops::conv2d<T, Arch>(context, conv, x, y, options);
    return y;
  }

  static void run_shortcut(const Context& context, const Block& block, FeatureMap<const T> x,
                           FeatureMap<T> out) {
    const Workspace::Frame frame(context.workspace);
    if (block.is_halving) {
      const FeatureMap<T> pooled =
          context.workspace.take_feature_map<T>(x.batch, out.height, out.width, x.channels);
      ops::avg_pool2d<T, Arch>(context, {2, 2}, x, pooled);
      x = pooled;
    }
    ops::conv2d<T, Arch>(context, *block.downsample, x, out);
  }

  static void run_block(const Context& context, const Block& block, FeatureMap<const T> x,
                        FeatureMap<T> out) {
    const Workspace::Frame frame(context.workspace);
    ops::OutputOptions<T> to_out{.activation = Activation::relu(), .residual = x.pixels()};
    if (block.downsample) {
      run_shortcut(context, block, x, out);
      to_out.residual = out.pixels();
    }
    const auto& convolutions = block.convolutions;
    const auto* const last = &convolutions.back();
    // What the last convolution reads: nothing comes between, or pools and gates do.
    const bool is_bottleneck = block.is_bottleneck();
    const bool is_gated_before = is_bottleneck && block.squeeze_excite.has_value();
    const auto* const reader = block.is_halving || is_gated_before ? nullptr : last;
    Operand y = is_bottleneck
                    ? convolve(context, convolutions[0], x, inner_activation, &convolutions[1])
                    : convolve(context, convolutions[0], x, inner_activation, reader);
    if (is_bottleneck) y = convolve(context, convolutions[1], y, inner_activation, reader);
    if (block.is_halving) {
      const FeatureMap<T> map = y.map();
      const Operand blurred =
          Operand::plain(context, {nullptr, map.batch, out.height, out.width, map.channels});
      ops::blur_pool2d<T, Arch>(context, map, blurred.map());
      y = blurred;
    }
    if (is_gated_before) {
      ops::squeeze_excite<T, Arch>(context, *block.squeeze_excite, y.map(), y.map());
    }
    if (is_bottleneck || !block.squeeze_excite) {
      ops::conv2d<T, Arch>(context, *last, y, out, to_out);
    } else {
      y = convolve(context, *last, y, {}, nullptr);
      ops::squeeze_excite<T, Arch>(context, *block.squeeze_excite, y.map(), out, to_out);
    }
  }

  TResNetShape shape_;
  ops::Conv2d<T, Arch> stem_;
  std::vector<Block> blocks_;
};

}  // namespace q2l
