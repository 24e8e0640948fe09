// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/shared_buffer.hpp"
#include "query2label/ops/batch_norm.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/multi_head_attention.hpp"
#include "query2label/ops/squeeze_excite.hpp"
#include "query2label/weights/weight_map.hpp"

// Layers from a checkpoint by PyTorch's names below `prefix`. A missing or misshapen tensor is
// noted in the map, whose finish() reports all of them at once.

namespace q2l {

/// `prefix`.weight [out, in] and, with `bias`, `prefix`.bias [out].
template <class T, class Arch>
ops::Linear<T, Arch> load_linear(WeightMap& weights, const std::string& prefix, std::size_t in,
                                 std::size_t out, bool bias = true) {
  const SharedBuffer<T> weight = weights.take<T>(prefix + ".weight", {out, in});
  const SharedBuffer<T> offset =
      bias ? weights.take<T>(prefix + ".bias", {out}) : SharedBuffer<T>();
  return {in, out, weight, offset, weights.threads(), weights.precision().settings(prefix)};
}

/// `prefix`.weight and `prefix`.bias [width].
template <class T>
ops::LayerNorm<T> load_layer_norm(WeightMap& weights, const std::string& prefix,
                                  std::size_t width) {
  const SharedBuffer<T> weight = weights.take<T>(prefix + ".weight", {width});
  const SharedBuffer<T> bias = weights.take<T>(prefix + ".bias", {width});
  return {weight, bias, T(1e-5)};
}

namespace detail {

/// `prefix`.weight, .bias, .running_mean, .running_var [channels], given to `fold`.
template <class T, class Fold>
ops::ChannelAffine load_folded_norm(WeightMap& weights, const std::string& prefix,
                                    std::size_t channels, Fold&& fold) {
  constexpr double eps = 1e-5;
  const SharedBuffer<T> weight = weights.take<T>(prefix + ".weight", {channels});
  const SharedBuffer<T> bias = weights.take<T>(prefix + ".bias", {channels});
  const SharedBuffer<T> mean = weights.take<T>(prefix + ".running_mean", {channels});
  const SharedBuffer<T> variance = weights.take<T>(prefix + ".running_var", {channels});
  if (!variance.is_known()) return {std::vector<double>(channels), std::vector<double>(channels)};
  return fold(weight, bias, mean, variance, eps, prefix + ".running_var");
}

}  // namespace detail

/// `prefix`.weight, .bias, .running_mean, .running_var [channels], folded; the batch counter is
/// accepted and not needed.
template <class T>
ops::ChannelAffine load_batch_norm(WeightMap& weights, const std::string& prefix,
                                   std::size_t channels) {
  weights.ignore(prefix + ".num_batches_tracked");
  return detail::load_folded_norm<T>(weights, prefix, channels, ops::fold_batch_norm<T>);
}

/// The same four tensors of an in-place ABN, folded; its activation is the caller's.
template <class T>
ops::ChannelAffine load_in_place_abn(WeightMap& weights, const std::string& prefix,
                                     std::size_t channels) {
  return detail::load_folded_norm<T>(weights, prefix, channels, ops::fold_in_place_abn<T>);
}

/// `prefix`.weight [out, in, kernel, kernel] and, with `bias`, `prefix`.bias [out]; `norm` folded
/// in.
template <class T, class Arch>
ops::Conv2d<T, Arch> load_conv2d(WeightMap& weights, const std::string& prefix,
                                 const ops::Conv2dShape& shape, bool bias,
                                 const ops::ChannelAffine& norm = {}) {
  const SharedBuffer<T> weight = weights.take<T>(
      prefix + ".weight", {shape.out_channels, shape.in_channels, shape.kernel, shape.kernel});
  const SharedBuffer<T> offset =
      bias ? weights.take<T>(prefix + ".bias", {shape.out_channels}) : SharedBuffer<T>();
  return {shape, weight, offset, norm, weights.threads(), weights.precision().settings(prefix)};
}

/// The 1x1 convolutions `prefix`.fc1 [squeezed, channels, 1, 1] and `prefix`.fc2 [channels,
/// squeezed, 1, 1], both with bias.
template <class T, class Arch>
ops::SqueezeExcite<T, Arch> load_squeeze_excite(WeightMap& weights, const std::string& prefix,
                                                std::size_t channels, std::size_t squeezed) {
  const auto load = [&](const std::string& name, std::size_t in, std::size_t out) {
    const SharedBuffer<T> weight = weights.take<T>(name + ".weight", {out, in, 1, 1});
    const SharedBuffer<T> bias = weights.take<T>(name + ".bias", {out});
    return ops::Linear<T, Arch>(in, out, weight, bias, weights.threads());
  };
  return {load(prefix + ".fc1", channels, squeezed), load(prefix + ".fc2", squeezed, channels)};
}

/// torch.nn.MultiheadAttention's four tensors below `prefix`, given to `make(parameters)`.
template <class T, class Make>
auto load_multi_head_attention(WeightMap& weights, const std::string& prefix, std::size_t width,
                               std::size_t heads, Make&& make) {
  const SharedBuffer<T> in_weight = weights.take<T>(prefix + ".in_proj_weight", {3 * width, width});
  const SharedBuffer<T> in_bias = weights.take<T>(prefix + ".in_proj_bias", {3 * width});
  const SharedBuffer<T> out_weight = weights.take<T>(prefix + ".out_proj.weight", {width, width});
  const SharedBuffer<T> out_bias = weights.take<T>(prefix + ".out_proj.bias", {width});
  return make(ops::MultiHeadAttentionParameters<T>{
      width, heads, in_weight, in_bias, out_weight, out_bias, weights.threads(),
      [&](std::string_view product) {
        return weights.precision().settings(prefix + "." + std::string(product));
      }});
}

}  // namespace q2l
