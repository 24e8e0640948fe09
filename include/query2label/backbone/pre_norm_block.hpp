// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>

#include "query2label/core/context.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/ops/feed_forward.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/weights/layer_loading.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// A block of the transformer backbones: x += attention(norm1(x)); x += feed_forward(norm2(x)).
template <class T, class Arch, class Attention>
struct PreNormBlock {
  ops::LayerNorm<T> norm1;
  Attention attention;
  ops::LayerNorm<T> norm2;
  ops::FeedForward<T, Arch> feed_forward;

  /// Takes `prefix` norm1, what `load_attention` takes, norm2, and mlp, four times as wide.
  template <class LoadAttention>
  static PreNormBlock load(WeightMap& weights, const std::string& prefix, std::size_t width,
                           Activation activation, LoadAttention&& load_attention) {
    return {load_layer_norm<T>(weights, prefix + "norm1", width),
            load_attention(),
            load_layer_norm<T>(weights, prefix + "norm2", width),
            {load_linear<T, Arch>(weights, prefix + "mlp.fc1", width, 4 * width),
             load_linear<T, Arch>(weights, prefix + "mlp.fc2", 4 * width, width), activation}};
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("norm1", self.norm1);
    visit("attention", self.attention);
    visit("norm2", self.norm2);
    visit("feed_forward", self.feed_forward);
  }

  /// Changes x [rows, D]. `attend` adds to it the attention of its argument, norm1(x) [rows, D].
  template <class Attend>
  void run(const Context& context, Matrix<T> x, Attend&& attend) const {
    {
      const Workspace::Frame frame(context.workspace);
      const Matrix<T> normed = context.workspace.take_matrix<T>(x.rows, x.columns);
      ops::layer_norm<T, Arch>(context, norm1, x, normed);
      attend(normed);
    }
    ops::norm_feed_forward<T, Arch>(context, norm2, feed_forward, x);
  }
};

}  // namespace q2l
