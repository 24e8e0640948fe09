// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "query2label/core/context.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/add.hpp"
#include "query2label/ops/feed_forward.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/multi_head_attention.hpp"
#include "query2label/transformer/transformer_shape.hpp"
#include "query2label/weights/layer_loading.hpp"

namespace q2l {

template <class T, class Arch>
struct EncoderLayer {
  ops::SelfAttention<T, Arch> self_attention;
  ops::FeedForward<T, Arch> feed_forward;
  ops::LayerNorm<T> norm1, norm2;

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("self_attention", self.self_attention);
    visit("feed_forward", self.feed_forward);
    visit("norm1", self.norm1);
    visit("norm2", self.norm2);
  }
};

/// The transformer encoder: tokens attend to each other. No layers: the tokens pass unchanged.
template <class T, class Arch>
struct Encoder {
  std::vector<EncoderLayer<T, Arch>> layers;
  std::optional<ops::LayerNorm<T>> norm;  ///< only with pre_norm
  bool pre_norm = false;

  /// Reads `transformer.encoder.*`.
  static Encoder load(WeightMap& weights, const TransformerShape& shape) {
    Encoder encoder;
    encoder.pre_norm = shape.pre_norm;
    const std::string root = "transformer.encoder.";
    for (std::size_t i = 0; i < shape.encoder_layers; ++i) {
      const std::string prefix = root + "layers." + std::to_string(i) + ".";
      EncoderLayer<T, Arch> layer;
      layer.self_attention = load_multi_head_attention<T>(
          weights, prefix + "self_attn", shape.width, shape.heads,
          [](const auto& p) { return ops::SelfAttention<T, Arch>(p); });
      layer.feed_forward.linear1 =
          load_linear<T, Arch>(weights, prefix + "linear1", shape.width, shape.feed_forward);
      layer.feed_forward.linear2 =
          load_linear<T, Arch>(weights, prefix + "linear2", shape.feed_forward, shape.width);
      layer.norm1 = load_layer_norm<T>(weights, prefix + "norm1", shape.width);
      layer.norm2 = load_layer_norm<T>(weights, prefix + "norm2", shape.width);
      encoder.layers.push_back(std::move(layer));
    }
    if (shape.pre_norm && shape.encoder_layers > 0) {
      encoder.norm = load_layer_norm<T>(weights, root + "norm", shape.width);
    }
    if (shape.encoder_layers == 0) {  // the reference makes it, and never calls an empty encoder
      weights.ignore(root + "norm.weight");
      weights.ignore(root + "norm.bias");
    }
    return encoder;
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("layers", self.layers);
    visit("norm", self.norm);
  }
};

/// x [N T, D] = encoder(x) in place, with the position code `position` [T, D] added to queries and
/// keys of every layer.
///   post-norm: x = norm1(x + attention(x + pos, x));  x = norm2(x + ffn(x))
///   pre-norm:  n = norm1(x), x += attention(n + pos, n);  x += ffn(norm2(x))
template <class T, class Arch>
void encode(const Context& context, const Encoder<T, Arch>& encoder, std::size_t images,
            Matrix<const T> position, Matrix<T> x) {
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> positioned = context.workspace.take_matrix<T>(x.rows, x.columns);
  const Matrix<T> normed =
      encoder.pre_norm ? context.workspace.take_matrix<T>(x.rows, x.columns) : x;
  for (const EncoderLayer<T, Arch>& layer : encoder.layers) {
    if (encoder.pre_norm) ops::layer_norm<T, Arch>(context, layer.norm1, x, normed);
    ops::add<T, Arch>(context, normed, position, positioned);
    ops::self_attention<T, Arch>(context, layer.self_attention, images, positioned, normed, x,
                                 {.residual = x});
    if (encoder.pre_norm) {
      ops::layer_norm<T, Arch>(context, layer.norm2, x, normed);
    } else {
      ops::layer_norm<T, Arch>(context, layer.norm1, x, x);
    }
    ops::feed_forward<T, Arch>(context, layer.feed_forward, normed, x, {.residual = x});
    if (!encoder.pre_norm) ops::layer_norm<T, Arch>(context, layer.norm2, x, x);
  }
  if (encoder.norm) ops::layer_norm<T, Arch>(context, *encoder.norm, x, x);
}

}  // namespace q2l
