// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/transformer/transformer_shape.hpp>
#include <string>
#include <vector>

#include "reference/add_reference.hpp"
#include "reference/reference_weights.hpp"

namespace q2l::test {

/// The transformer encoder of the paper's reference implementation, line by line.
struct EncoderReference {
  static constexpr Domain domain{0.0, 1.0};
  /// Of every projection. With 1 the worst case of rounding would grow ten-thousandfold a layer.
  static constexpr double gain = 0.3;

  struct Layer {
    MultiHeadAttentionReference attention;
    FeedForwardReference feed_forward;
    NormWeights norm1, norm2;
  };
  TransformerShape shape;
  std::vector<Layer> layers;
  NormWeights norm;

  explicit EncoderReference(const TransformerShape& shape_)
      : shape(shape_), norm(NormWeights::filled("encoder.norm", shape.width)) {
    for (std::size_t i = 0; i < shape.encoder_layers; ++i) {
      const std::string name = "encoder" + std::to_string(i);
      layers.push_back({MultiHeadAttentionReference::filled(name, shape.width, shape.heads, gain),
                        FeedForwardReference::filled(name, shape.width, shape.feed_forward, gain),
                        NormWeights::filled(name + "norm1", shape.width),
                        NormWeights::filled(name + "norm2", shape.width)});
    }
  }

  void add_to(WeightMap& map) const {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string prefix = "transformer.encoder.layers." + std::to_string(i) + ".";
      add_weights(map, prefix + "self_attn", layers[i].attention);
      add_weights(map, prefix, layers[i].feed_forward);
      add_weights(map, prefix + "norm1", layers[i].norm1);
      add_weights(map, prefix + "norm2", layers[i].norm2);
    }
    if (shape.pre_norm && !layers.empty()) add_weights(map, "transformer.encoder.norm", norm);
  }

  /// x [N T, D], `position` [T, D].
  template <class T>
  [[nodiscard]] Estimate apply(Estimate x, const Estimate& position, std::size_t images) const {
    const auto attend = [&](const Layer& layer, const Estimate& in, const Estimate& residual) {
      const Estimate positioned = AddReference::apply<T>(in, position);
      return layer.attention.apply<T>(positioned, positioned, in, images, residual).out;
    };
    for (const Layer& layer : layers) {
      if (shape.pre_norm) {
        x = attend(layer, layer.norm1.apply<T>(x), x);
        x = layer.feed_forward.apply<T>(layer.norm2.apply<T>(x), Activation::relu(), x);
      } else {
        x = layer.norm1.apply<T>(attend(layer, x, x));
        x = layer.norm2.apply<T>(layer.feed_forward.apply<T>(x, Activation::relu(), x));
      }
    }
    return shape.pre_norm && !layers.empty() ? norm.apply<T>(x) : x;
  }
};

}  // namespace q2l::test
