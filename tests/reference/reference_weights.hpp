// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <query2label/weights/weight_map.hpp>
#include <string>
#include <vector>

#include "reference/feed_forward_reference.hpp"
#include "reference/layer_norm_reference.hpp"
#include "reference/multi_head_attention_reference.hpp"
#include "support/recipe.hpp"

// The weights of the references under the names a checkpoint gives them.

namespace q2l::test {

inline void add_tensor(WeightMap& map, const std::string& name, WeightMap::Shape shape,
                       const std::vector<float>& values) {
  map.add(name, std::move(shape), [values] { return values; });
}

inline void add_weights(WeightMap& map, const std::string& prefix,
                        const MultiHeadAttentionReference& attention) {
  const std::uint64_t width = attention.width;
  add_tensor(map, prefix + ".in_proj_weight", {3 * width, width}, attention.in_weight);
  add_tensor(map, prefix + ".in_proj_bias", {3 * width}, attention.in_bias);
  add_tensor(map, prefix + ".out_proj.weight", {width, width}, attention.out_weight);
  add_tensor(map, prefix + ".out_proj.bias", {width}, attention.out_bias);
}

inline void add_weights(WeightMap& map, const std::string& prefix,
                        const FeedForwardReference& feed_forward) {
  const std::uint64_t width = feed_forward.width, hidden = feed_forward.hidden;
  add_tensor(map, prefix + "linear1.weight", {hidden, width}, feed_forward.weight1);
  add_tensor(map, prefix + "linear1.bias", {hidden}, feed_forward.bias1);
  add_tensor(map, prefix + "linear2.weight", {width, hidden}, feed_forward.weight2);
  add_tensor(map, prefix + "linear2.bias", {width}, feed_forward.bias2);
}

/// The weights of one layer norm.
struct NormWeights {
  std::vector<float> weight, bias;

  static NormWeights filled(const std::string& name, std::size_t width) {
    return {fill(name + ".weight", width, 1.0, 0.5, 1), fill(name + ".bias", width, 0.0, 0.5, 1)};
  }
  template <class T>
  [[nodiscard]] Estimate apply(const Estimate& x) const {
    return LayerNormReference::apply<T>(x, {1, x.columns, weight}, {1, x.columns, bias});
  }
};

inline void add_weights(WeightMap& map, const std::string& prefix, const NormWeights& norm) {
  add_tensor(map, prefix + ".weight", {norm.weight.size()}, norm.weight);
  add_tensor(map, prefix + ".bias", {norm.bias.size()}, norm.bias);
}

}  // namespace q2l::test
