// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "query2label/backbone/pre_norm_block.hpp"
#include "query2label/backbone/require_feature_shape.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/convolutional_attention.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/weights/layer_loading.hpp"
#include "query2label/weights/shape_inference.hpp"

namespace q2l {

/// Sizes of a CvT (arXiv 2103.15808): three stages on grids of 1/4, 1/8 and 1/16 of the picture's
/// sides. The last stage has a class token, which is dropped behind it.
struct CvtShape {
  static constexpr std::size_t stride = 16;   ///< pixels of the picture for one of the features
  static constexpr bool unit_pixels = false;  ///< trained on normalised pixels, not on 0..1

  std::array<std::size_t, 3> embed_dims{192, 768, 1024};
  std::array<std::size_t, 3> heads{3, 12, 16};
  std::array<std::size_t, 3> depths{2, 2, 20};

  bool operator==(const CvtShape&) const = default;
};

/// The shape of the CvT whose tensors `weights` holds, from their names and sizes alone. Heads
/// leave no trace there: they are taken to be 64 wide, as in the paper, and 0 where that cannot be.
inline CvtShape infer_cvt_shape(const WeightMap& weights) {
  constexpr std::size_t head_width = 64;
  CvtShape shape;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string prefix = "backbone.0.stage" + std::to_string(i) + ".";
    const std::size_t width = tensor_extent(weights, prefix + "patch_embed.proj.weight", 0);
    shape.embed_dims[i] = width;
    shape.heads[i] = width % head_width == 0 ? width / head_width : 0;
    shape.depths[i] = count_numbered(weights, prefix + "blocks.", ".norm1.weight");
  }
  return shape;
}

template <class T, class Arch>
class Cvt {
 public:
  using Shape = CvtShape;

  /// Reads `backbone.0.*`, batch norm folded into the depthwise convolutions.
  /// Throws Error bad_config when the shape makes no sense.
  static Cvt load(WeightMap& weights, const CvtShape& shape) {
    require_shape(shape);
    Cvt net;
    net.shape_ = shape;
    std::size_t in = 3;
    for (std::size_t i = 0; i < net.stages_.size(); ++i) {
      const std::string prefix = "backbone.0.stage" + std::to_string(i) + ".";
      const std::size_t width = shape.embed_dims[i];
      const bool first = i == 0;
      Stage& stage = net.stages_[i];
      stage.embed = load_conv2d<T, Arch>(
          weights, prefix + "patch_embed.proj",
          {in, width, first ? 7u : 3u, first ? 4u : 2u, first ? 2u : 1u}, true);
      stage.embed_norm = load_layer_norm<T>(weights, prefix + "patch_embed.norm", width);
      for (std::size_t b = 0; b < shape.depths[i]; ++b) {
        stage.blocks.push_back(load_block(weights, prefix + "blocks." + std::to_string(b) + ".",
                                          width, shape.heads[i]));
      }
      in = width;
    }
    net.stages_.back().class_token =
        weights.take<T>("backbone.0.stage2.cls_token", {1, 1, net.channels()}).copy();
    net.norm_ = load_layer_norm<T>(weights, "backbone.0.norm", net.channels());
    return net;
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("stages", self.stages_);
    visit("norm", self.norm_);
  }

  [[nodiscard]] static constexpr std::size_t stride() noexcept { return Shape::stride; }
  [[nodiscard]] std::size_t channels() const noexcept { return shape_.embed_dims.back(); }

  /// out [N, H / 16, W / 16, channels()] from a normalised picture [N, H, W, 3] of any sides that
  /// are multiples of 16. Throws Error bad_argument when shapes do not fit.
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> out) const {
    detail::require_feature_shape<T>("Cvt", stride(), channels(), image, out);
    const Workspace::Frame frame(context.workspace);
    // A stage reads one buffer and leaves its tokens in the other.
    std::array<T*, 2> buffers{};
    for (std::size_t b = 0; b < buffers.size(); ++b) {
      std::size_t largest = 0;
      for (std::size_t i = b; i < stages_.size(); i += 2) {
        largest = std::max(largest, stage_grid(i, image).rows() * shape_.embed_dims[i]);
      }
      buffers[b] = context.workspace.take<T>(largest);
    }
    ops::TokenGrid grid;
    Matrix<T> x;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      const ops::TokenGrid next_grid = stage_grid(i, image);
      const Matrix<T> next{buffers[i % 2], next_grid.rows(), shape_.embed_dims[i]};
      for (std::size_t n = 0; n < image.batch; ++n) {
        if (i == 0) {
          embed(context, stages_[i], image.image(n), next_grid, n, next);
        } else {
          embed(context, stages_[i], grid.grid(x, n), next_grid, n, next);
        }
      }
      grid = next_grid;
      x = next;
      for (const Block& block : stages_[i].blocks) run_block(context, block, grid, x);
    }
    for (std::size_t n = 0; n < image.batch; ++n) {
      ops::layer_norm<T, Arch>(context, norm_, grid.grid(x, n).pixels(), out.image(n).pixels());
    }
  }

 private:
  using Attention = ops::ConvolutionalAttention<T, Arch>;
  using Block = PreNormBlock<T, Arch, Attention>;

  struct Stage {
    ops::Conv2d<T, Arch> embed;
    ops::LayerNorm<T> embed_norm;
    SharedBuffer<T> class_token;  ///< [D], in the last stage only
    std::vector<Block> blocks;

    template <class Self, class Visitor>
    static void visit_buffers(Self& self, Visitor& visit) {
      visit("embed", self.embed);
      visit("embed_norm", self.embed_norm);
      visit("class_token", self.class_token);
      visit("blocks", self.blocks);
    }
  };

  static void require_shape(const CvtShape& shape) {
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t width = shape.embed_dims[i];
      if (shape.depths[i] > 0 && width > 0 && shape.heads[i] > 0 && width % shape.heads[i] == 0) {
        continue;
      }
      throw Error(
          ErrorCode::bad_config,
          "every stage needs blocks and heads that divide its width; heads that are not 64 "
          "wide must be given",
          {.subject = "CvT stage " + std::to_string(i),
           .actual = std::to_string(shape.depths[i]) + " blocks, " +
                     std::to_string(shape.heads[i]) + " heads, width " + std::to_string(width)});
    }
  }

  static typename Attention::Projection load_projection(WeightMap& weights,
                                                        const std::string& prefix,
                                                        const std::string& which, std::size_t width,
                                                        std::size_t step) {
    const std::string convolution = prefix + "conv_proj_" + which;
    const SharedBuffer<T> filters = weights.take<T>(convolution + ".conv.weight", {width, 1, 3, 3});
    return {{{width, 3, step, 1}, filters, load_batch_norm<T>(weights, convolution + ".bn", width)},
            load_linear<T, Arch>(weights, prefix + "proj_" + which, width, width)};
  }

  static Block load_block(WeightMap& weights, const std::string& prefix, std::size_t width,
                          std::size_t heads) {
    const std::string attention = prefix + "attn.";
    return Block::load(weights, prefix, width, Activation::quick_gelu(), [&]() -> Attention {
      return {heads, load_projection(weights, attention, "q", width, 1),
              load_projection(weights, attention, "k", width, 2),
              load_projection(weights, attention, "v", width, 2),
              load_linear<T, Arch>(weights, attention + "proj", width, width)};
    });
  }

  [[nodiscard]] ops::TokenGrid stage_grid(std::size_t stage,
                                          FeatureMap<const T> image) const noexcept {
    return {image.batch, image.height >> (2 + stage), image.width >> (2 + stage),
            stages_[stage].class_token.empty() ? 0u : 1u};
  }

  /// Image `n` of a stage's tokens: the class token, then norm(conv(in)).
  static void embed(const Context& context, const Stage& stage, FeatureMap<const T> in,
                    const ops::TokenGrid& grid, std::size_t n, Matrix<T> tokens) {
    const FeatureMap<T> embedded = grid.grid(tokens, n);
    ops::conv2d<T, Arch>(context, stage.embed, in, embedded);
    ops::layer_norm<T, Arch>(context, stage.embed_norm, embedded.pixels(), embedded.pixels());
    if (context.is_planning()) return;
    std::copy(stage.class_token.begin(), stage.class_token.end(), tokens.row(n * grid.tokens()));
  }

  static void run_block(const Context& context, const Block& block, const ops::TokenGrid& grid,
                        Matrix<T> x) {
    block.run(context, x, [&](Matrix<const T> normed) {
      ops::convolutional_attention<T, Arch>(context, block.attention, grid, normed, x,
                                            {.residual = x});
    });
  }

  CvtShape shape_;
  std::array<Stage, 3> stages_;
  ops::LayerNorm<T> norm_;
};

}  // namespace q2l
