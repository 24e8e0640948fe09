// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "query2label/backbone/pre_norm_block.hpp"
#include "query2label/backbone/require_feature_shape.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/patch_merging.hpp"
#include "query2label/ops/window_attention.hpp"
#include "query2label/weights/layer_loading.hpp"
#include "query2label/weights/shape_inference.hpp"

namespace q2l {

/// Sizes of a Swin transformer (arXiv 2103.14030): four stages on grids of 1/4 to 1/32 of the
/// picture's sides, each twice as wide as the one before. A stage's second, fourth, ... block
/// shifts its windows.
struct SwinShape {
  static constexpr std::size_t stride = 32;   ///< pixels of the picture for one of the features
  static constexpr bool unit_pixels = false;  ///< trained on normalised pixels, not on 0..1

  std::size_t embed_dim = 128;  ///< width of the first stage
  std::array<std::size_t, 4> depths{2, 2, 18, 2};
  std::array<std::size_t, 4> heads{4, 8, 16, 32};
  /// Side of a stage's windows: less in late stages of models trained on small pictures.
  std::array<std::size_t, 4> windows{7, 7, 7, 7};

  static constexpr SwinShape base(std::size_t window) noexcept {
    return {128, {2, 2, 18, 2}, {4, 8, 16, 32}, {window, window, window, window}};
  }
  static constexpr SwinShape large(std::size_t window) noexcept {
    return {192, {2, 2, 18, 2}, {6, 12, 24, 48}, {window, window, window, window}};
  }

  [[nodiscard]] constexpr std::size_t width(std::size_t stage) const noexcept {
    return embed_dim << stage;
  }
  bool operator==(const SwinShape&) const = default;
};

/// The shape of the Swin transformer whose tensors `weights` holds, from their names and sizes
/// alone.
inline SwinShape infer_swin_shape(const WeightMap& weights) {
  SwinShape shape;
  shape.embed_dim = tensor_extent(weights, "backbone.0.patch_embed.proj.weight", 0);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::string blocks = "backbone.0.layers." + std::to_string(stage) + ".blocks.";
    const std::string table = blocks + "0.attn.relative_position_bias_table";
    shape.depths[stage] = count_numbered(weights, blocks, ".norm1.weight");
    shape.heads[stage] = tensor_extent(weights, table, 1);
    // (2 S - 1)^2 rows; where there is no such S, loading finds the table misshapen.
    const std::size_t rows = tensor_extent(weights, table, 0);
    std::size_t window = 0;
    while (window <= ops::largest_window && (2 * window + 1) * (2 * window + 1) <= rows) ++window;
    shape.windows[stage] = window;
  }
  return shape;
}

template <class T, class Arch>
class Swin {
 public:
  using Shape = SwinShape;

  /// Reads `backbone.0.*`. Throws Error bad_config when the shape makes no sense.
  static Swin load(WeightMap& weights, const SwinShape& shape) {
    require_shape(shape);
    const std::string root = "backbone.0.";
    Swin net;
    net.shape_ = shape;
    net.embed_ = load_conv2d<T, Arch>(weights, root + "patch_embed.proj",
                                      {3, shape.embed_dim, 4, 4, 0}, true);
    net.embed_norm_ = load_layer_norm<T>(weights, root + "patch_embed.norm", shape.embed_dim);
    for (std::size_t i = 0; i < net.stages_.size(); ++i) {
      const std::string prefix = root + "layers." + std::to_string(i) + ".";
      Stage& stage = net.stages_[i];
      for (std::size_t b = 0; b < shape.depths[i]; ++b) {
        stage.blocks.push_back(load_block(weights, prefix + "blocks." + std::to_string(b) + ".",
                                          shape.width(i), shape.heads[i], shape.windows[i],
                                          b % 2 == 1));
      }
      if (i + 1 == net.stages_.size()) break;
      const std::size_t merged = 4 * shape.width(i);
      stage.downsample = {load_layer_norm<T>(weights, prefix + "downsample.norm", merged),
                          load_linear<T, Arch>(weights, prefix + "downsample.reduction", merged,
                                               shape.width(i + 1), false)};
    }
    net.norm_ = load_layer_norm<T>(weights, root + "norm", net.channels());
    return net;
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("embed", self.embed_);
    visit("embed_norm", self.embed_norm_);
    visit("stages", self.stages_);
    visit("norm", self.norm_);
  }

  [[nodiscard]] static constexpr std::size_t stride() noexcept { return Shape::stride; }
  [[nodiscard]] std::size_t channels() const noexcept { return shape_.width(3); }

  /// out [N, H / 32, W / 32, channels()] from a normalised picture [N, H, W, 3] of any sides that
  /// are multiples of 32. Throws Error bad_argument when shapes do not fit.
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> out) const {
    detail::require_feature_shape<T>("Swin", stride(), channels(), image, out);
    const Workspace::Frame frame(context.workspace);
    // Each stage needs half the elements of the one before, so two buffers take turns.
    FeatureMap<T> x = context.workspace.take_feature_map<T>(image.batch, image.height / 4,
                                                            image.width / 4, shape_.embed_dim);
    T* spare = context.workspace.take<T>(x.pixel_count() * x.channels / 2);
    ops::conv2d<T, Arch>(context, embed_, image, x);
    ops::layer_norm<T, Arch>(context, embed_norm_, x.pixels(), x.pixels());
    for (const Stage& stage : stages_) {
      for (const Block& block : stage.blocks) run_block(context, block, x);
      if (!stage.downsample) continue;
      const FeatureMap<T> merged{spare, x.batch, x.height / 2, x.width / 2, 2 * x.channels};
      ops::patch_merging<T, Arch>(context, *stage.downsample, x, merged);
      spare = std::exchange(x, merged).data;
    }
    ops::layer_norm<T, Arch>(context, norm_, x.pixels(), out.pixels());
  }

 private:
  using Attention = ops::WindowAttention<T, Arch>;
  using Block = PreNormBlock<T, Arch, Attention>;

  struct Stage {
    std::vector<Block> blocks;
    std::optional<ops::PatchMerging<T, Arch>> downsample;  ///< all but the last have one

    template <class Self, class Visitor>
    static void visit_buffers(Self& self, Visitor& visit) {
      visit("blocks", self.blocks);
      visit("downsample", self.downsample);
    }
  };

  static void require_shape(const SwinShape& shape) {
    for (std::size_t i = 0; i < 4; ++i) {
      const bool fits = shape.depths[i] > 0 && shape.windows[i] > 0 &&
                        shape.windows[i] <= ops::largest_window && shape.heads[i] > 0 &&
                        shape.width(i) > 0 && shape.width(i) % shape.heads[i] == 0;
      if (fits) continue;
      throw Error(
          ErrorCode::bad_config,
          "every stage needs blocks, a window of at most " + std::to_string(ops::largest_window) +
              " tokens a side, and heads that divide its width",
          {.subject = "Swin stage " + std::to_string(i),
           .actual = std::to_string(shape.depths[i]) + " blocks, window " +
                     std::to_string(shape.windows[i]) + ", " + std::to_string(shape.heads[i]) +
                     " heads, width " + std::to_string(shape.width(i))});
    }
  }

  static Block load_block(WeightMap& weights, const std::string& prefix, std::size_t width,
                          std::size_t heads, std::size_t window, bool is_shifted) {
    // Checkpoints also carry two tables that follow from the sizes.
    weights.ignore(prefix + "attn.relative_position_index");
    weights.ignore(prefix + "attn_mask");
    const SharedBuffer<T> table = weights.take<T>(prefix + "attn.relative_position_bias_table",
                                                  {(2 * window - 1) * (2 * window - 1), heads});
    return Block::load(weights, prefix, width, Activation::gelu(), [&]() -> Attention {
      return {heads,
              window,
              is_shifted,
              load_linear<T, Arch>(weights, prefix + "attn.qkv", width, 3 * width),
              load_linear<T, Arch>(weights, prefix + "attn.proj", width, width),
              table};
    });
  }

  static void run_block(const Context& context, const Block& block, FeatureMap<T> x) {
    block.run(context, x.pixels(), [&](Matrix<const T> normed) {
      ops::window_attention<T, Arch>(
          context, block.attention,
          {normed.data, x.batch, x.height, x.width, x.channels, normed.stride}, x,
          {.residual = x.pixels()});
    });
  }

  SwinShape shape_;
  ops::Conv2d<T, Arch> embed_;
  ops::LayerNorm<T> embed_norm_;
  std::array<Stage, 4> stages_;
  ops::LayerNorm<T> norm_;
};

}  // namespace q2l
