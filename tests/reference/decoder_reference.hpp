// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/transformer/transformer_shape.hpp>
#include <string>
#include <vector>

#include "reference/add_reference.hpp"
#include "reference/reference_weights.hpp"

namespace q2l::test {

/// The transformer decoder of the paper's reference implementation, line by line: the target begins
/// as zero and `query_embed` is added to the query of every attention.
struct DecoderReference {
  static constexpr Domain domain{0.0, 1.0};
  /// Of every projection. With 1 the worst case of rounding would grow ten-thousandfold a layer.
  static constexpr double gain = 0.3;

  struct Layer {
    MultiHeadAttentionReference self_attention, cross_attention;
    FeedForwardReference feed_forward;
    NormWeights norm1, norm2, norm3;
  };
  struct Result {
    Estimate out;                ///< [N K, D]
    std::vector<Estimate> maps;  ///< of each layer [N A K, T]
  };
  TransformerShape shape;
  std::vector<Layer> layers;
  NormWeights norm;
  std::vector<float> query_embed;

  explicit DecoderReference(const TransformerShape& shape_)
      : shape(shape_),
        norm(NormWeights::filled("decoder.norm", shape.width)),
        query_embed(fill("query_embed", shape.labels * shape.width, 0.0, 1.0, 1)) {
    for (std::size_t i = 0; i < shape.decoder_layers; ++i) {
      const std::string name = "decoder" + std::to_string(i);
      layers.push_back(
          {MultiHeadAttentionReference::filled(name + "self", shape.width, shape.heads, gain),
           MultiHeadAttentionReference::filled(name + "cross", shape.width, shape.heads, gain),
           FeedForwardReference::filled(name, shape.width, shape.feed_forward, gain),
           NormWeights::filled(name + "norm1", shape.width),
           NormWeights::filled(name + "norm2", shape.width),
           NormWeights::filled(name + "norm3", shape.width)});
    }
  }

  void add_to(WeightMap& map) const {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string prefix = "transformer.decoder.layers." + std::to_string(i) + ".";
      if (shape.has_self_attention(i)) {
        add_weights(map, prefix + "self_attn", layers[i].self_attention);
        add_weights(map, prefix + "norm1", layers[i].norm1);
      }
      add_weights(map, prefix + "multihead_attn", layers[i].cross_attention);
      add_weights(map, prefix, layers[i].feed_forward);
      add_weights(map, prefix + "norm2", layers[i].norm2);
      add_weights(map, prefix + "norm3", layers[i].norm3);
    }
    add_weights(map, "transformer.decoder.norm", norm);
    add_tensor(map, "query_embed.weight", {shape.labels, shape.width}, query_embed);
  }

  /// `memory` [N T, D], `position` [T, D].
  template <class T>
  [[nodiscard]] Result apply(const Estimate& memory, const Estimate& position,
                             std::size_t images) const {
    const Estimate embed(shape.labels, shape.width, query_embed);
    const Estimate keys = AddReference::apply<T>(memory, position);
    Result result{Estimate(images * shape.labels, shape.width), {}};
    Estimate& x = result.out;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Layer& layer = layers[i];
      const auto normed = [&](const NormWeights& weights) {
        return shape.pre_norm ? weights.apply<T>(x) : x;
      };
      const auto finish = [&](const NormWeights& weights, Estimate sum) {
        x = shape.pre_norm ? sum : weights.apply<T>(sum);
      };
      if (shape.has_self_attention(i)) {
        const Estimate in = normed(layer.norm1);
        const Estimate query = AddReference::apply<T>(in, embed);
        finish(layer.norm1, layer.self_attention.apply<T>(query, query, in, images, x).out);
      }
      const Estimate query = AddReference::apply<T>(normed(layer.norm2), embed);
      AttentionReference::Result cross =
          layer.cross_attention.apply<T>(query, keys, memory, images, x);
      finish(layer.norm2, cross.out);
      result.maps.push_back(cross.maps);
      finish(layer.norm3, layer.feed_forward.apply<T>(normed(layer.norm3), Activation::relu(), x));
    }
    x = norm.apply<T>(x);
    return result;
  }
};

}  // namespace q2l::test
