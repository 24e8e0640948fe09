// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <variant>

#include "query2label/model/model_config.hpp"

namespace q2l::command {

/// Multiply-adds of a model's convolutions, linear layers and attention products for one picture,
/// as a framework executes them: shortcuts that save some (Winograd's, a cross-attention that
/// projects labels instead of tokens) do not count, so that rates of different programs compare.
struct MultiplyAdds {
  std::uint64_t backbone = 0;
  std::uint64_t encoder = 0;  ///< with the input projection
  std::uint64_t decoder = 0;

  [[nodiscard]] std::uint64_t total() const noexcept { return backbone + encoder + decoder; }
};

namespace detail {

constexpr std::uint64_t square(std::uint64_t x) noexcept { return x * x; }

/// A block of two 3x3 convolutions (in, middle, middle), or 1x1, 3x3, 1x1 (in, middle, middle,
/// out), and its shortcut; `middle_side` is the side of what the strided 3x3 computes.
constexpr std::uint64_t residual_block(bool bottleneck, std::uint64_t in, std::uint64_t middle,
                                       std::uint64_t out, std::uint64_t in_side,
                                       std::uint64_t middle_side, std::uint64_t out_side) {
  const std::uint64_t shortcut = in != out || in_side != out_side ? in * out * square(out_side) : 0;
  const std::uint64_t body =
      bottleneck ? in * middle * square(in_side) + 9 * middle * middle * square(middle_side) +
                       middle * out * square(out_side)
                 : 9 * in * middle * square(middle_side) + 9 * middle * out * square(out_side);
  return body + shortcut;
}

inline std::uint64_t count_backbone(const ResNetShape& shape, std::uint64_t picture_side) {
  std::uint64_t count = 3 * 7 * 7 * shape.width * square(picture_side / 2);
  std::uint64_t side = picture_side / 4, in = shape.width;
  for (std::size_t stage = 0; stage < shape.layers.size(); ++stage) {
    const std::uint64_t out = shape.stage_channels(stage);
    for (std::size_t i = 0; i < shape.layers[stage]; ++i) {
      const std::uint64_t out_side = stage > 0 && i == 0 ? side / 2 : side;
      count +=
          residual_block(shape.bottleneck, in, shape.width << stage, out, side, out_side, out_side);
      in = out;
      side = out_side;
    }
  }
  return count;
}

inline std::uint64_t count_backbone(const TResNetShape& shape, std::uint64_t picture_side) {
  std::uint64_t side = picture_side / 4, in = shape.width;
  std::uint64_t count = 3 * 4 * 4 * 9 * shape.width * square(side);
  for (std::size_t stage = 0; stage < shape.layers.size(); ++stage) {
    const std::uint64_t middle = shape.width << stage, out = shape.stage_channels(stage);
    const bool bottleneck = shape.bottleneck[stage];
    const std::uint64_t squeezed = std::max<std::uint64_t>(bottleneck ? out / 8 : middle / 4, 64);
    for (std::size_t i = 0; i < shape.layers[stage]; ++i) {
      const std::uint64_t out_side = stage > 0 && i == 0 ? side / 2 : side;
      // Strides are blur pools behind the 3x3, which computes all pixels.
      count += residual_block(bottleneck, in, middle, out, side, side, out_side);
      if (stage < 3) count += 2 * middle * squeezed;
      in = out;
      side = out_side;
    }
  }
  return count;
}

inline std::uint64_t count_backbone(const SwinShape& shape, std::uint64_t picture_side) {
  std::uint64_t side = picture_side / 4;
  std::uint64_t count = 3 * 4 * 4 * shape.embed_dim * square(side);
  for (std::size_t stage = 0; stage < shape.depths.size(); ++stage) {
    const std::uint64_t width = shape.width(stage);
    const std::uint64_t window = std::min<std::uint64_t>(shape.windows[stage], side);
    const std::uint64_t tokens = square((side + window - 1) / window * window);  // padded
    const std::uint64_t attention =
        4 * width * width * tokens + 2 * width * tokens * square(window);
    count += shape.depths[stage] * (attention + 8 * width * width * square(side));
    if (stage + 1 == shape.depths.size()) break;
    side /= 2;
    count += 4 * width * 2 * width * square(side);
  }
  return count;
}

inline std::uint64_t count_backbone(const CvtShape& shape, std::uint64_t picture_side) {
  std::uint64_t count = 0, in = 3;
  for (std::size_t stage = 0; stage < shape.depths.size(); ++stage) {
    const std::uint64_t width = shape.embed_dims[stage];
    const std::uint64_t side = picture_side >> (2 + stage);
    const std::uint64_t class_token = stage + 1 == shape.depths.size() ? 1 : 0;
    const std::uint64_t key_side = (side + 1) / 2;
    const std::uint64_t tokens = square(side) + class_token;
    const std::uint64_t keys = square(key_side) + class_token;
    const std::uint64_t depthwise = 9 * width * (square(side) + 2 * square(key_side));
    const std::uint64_t linear = 2 * width * width * (tokens + keys) + 8 * width * width * tokens;
    count += in * width * (stage == 0 ? 7 * 7 : 3 * 3) * square(side);
    count += shape.depths[stage] * (depthwise + linear + 2 * width * tokens * keys);
    in = width;
  }
  return count;
}

/// Attention of `queries` to `keys` with its four projections, all of `width`.
constexpr std::uint64_t attention(std::uint64_t queries, std::uint64_t keys, std::uint64_t width) {
  return 2 * width * width * (queries + keys) + 2 * width * queries * keys;
}

}  // namespace detail

/// For a picture of the configured size.
inline MultiplyAdds count_multiply_adds(const ModelConfig& config, std::size_t backbone_channels) {
  const TransformerShape& shape = config.transformer;
  const std::uint64_t width = shape.width, labels = shape.labels;
  const std::uint64_t tokens = detail::square(config.image_size / backbone_stride(config.backbone));
  const std::uint64_t feed_forward = 2 * width * shape.feed_forward;
  MultiplyAdds count;
  count.backbone = std::visit(
      [&](const auto& s) { return detail::count_backbone(s, config.image_size); }, config.backbone);
  if (config.input_projection) count.encoder = tokens * backbone_channels * width;
  count.encoder +=
      shape.encoder_layers * (detail::attention(tokens, tokens, width) + feed_forward * tokens);
  for (std::size_t layer = 0; layer < shape.decoder_layers; ++layer) {
    if (shape.has_self_attention(layer)) count.decoder += detail::attention(labels, labels, width);
    count.decoder += detail::attention(labels, tokens, width) + feed_forward * labels;
  }
  return count;
}

}  // namespace q2l::command
