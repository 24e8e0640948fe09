// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "query2label/core/context.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/scaled_dot_product_attention.hpp"

namespace q2l::ops {

/// torch.nn.MultiheadAttention's parameters as stored: `in_proj_weight` [3 D, D] with the rows of
/// q, k and v stacked, `in_proj_bias` [3 D], `out_proj.weight` [D, D], `out_proj.bias` [D].
template <class T>
struct MultiHeadAttentionParameters {
  std::size_t width = 0;  ///< D
  std::size_t heads = 0;
  SharedBuffer<T> in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias;
  Threads threads = {};  ///< that pack
  /// Of the products "query", "key", "query_key", "value" and "out_proj", and, where labels are
  /// projected, "label_key" and "label_value"; empty for f32.
  std::function<ProductSettings(std::string_view)> settings = {};

  /// Rows of projection 0 (q), 1 (k) or 2 (v), and of `count` projections from there.
  /// Throws Error bad_argument when sizes do not fit.
  [[nodiscard]] SharedBuffer<T> weight(std::size_t first, std::size_t count = 1) const {
    require_equal(in_proj_weight.size(), 3 * width * width,
                  "MultiHeadAttention: elements of in_proj_weight");
    return in_proj_weight.part(first * width * width, count * width * width);
  }
  [[nodiscard]] SharedBuffer<T> bias(std::size_t first, std::size_t count = 1) const {
    require_equal(in_proj_bias.size(), 3 * width, "MultiHeadAttention: elements of in_proj_bias");
    return in_proj_bias.part(first * width, count * width);
  }
  [[nodiscard]] ProductSettings settings_of(std::string_view product) const {
    return settings ? settings(product) : ProductSettings{};
  }
  /// The heads. Throws Error bad_argument unless they divide the width.
  [[nodiscard]] std::size_t checked_heads() const {
    require_argument(heads > 0 && width % heads == 0, "MultiHeadAttention",
                     "the heads must divide the width");
    return heads;
  }
};

/// torch.nn.MultiheadAttention where queries and keys come from one input and values from another:
/// the self-attention of encoder and decoder, whose position code reaches q and k but never v.
template <class T, class Arch>
struct SelfAttention {
  std::size_t heads = 1;
  Linear<T, Arch> query_key;  ///< D -> 2 D
  Linear<T, Arch> value;      ///< D -> D
  Linear<T, Arch> out;        ///< D -> D

  SelfAttention() = default;
  explicit SelfAttention(const MultiHeadAttentionParameters<T>& p)
      : heads(p.checked_heads()),
        query_key(p.width, 2 * p.width, p.weight(0, 2), p.bias(0, 2), p.threads,
                  p.settings_of("query_key")),
        value(p.width, p.width, p.weight(2), p.bias(2), p.threads, p.settings_of("value")),
        out(p.width, p.width, p.out_proj_weight, p.out_proj_bias, p.threads,
            p.settings_of("out_proj")) {}

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("query_key", self.query_key);
    visit("value", self.value);
    visit("out", self.out);
  }
};

/// out [N M, D] = attention over each of N sequences, queries and keys from `query_key_input`
/// [N M, D], values from `value_input` [N M, D], plus the residual of `options`. Error: that of two
/// `linear` one after the other and `scaled_dot_product_attention` between them.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void self_attention(const Context& context, const SelfAttention<T, Arch>& layer,
                    std::size_t sequences, Matrix<const T> query_key_input,
                    Matrix<const T> value_input, Matrix<T> out,
                    const OutputOptions<T>& options = {}) {
  const std::size_t rows = value_input.rows;
  const std::size_t width = layer.value.out_features();
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> query_key = context.workspace.take_matrix<T>(rows, 2 * width);
  const Matrix<T> value = context.workspace.take_matrix<T>(rows, width);
  const Matrix<T> attended = context.workspace.take_matrix<T>(rows, width);
  linear<T, Arch>(context, layer.query_key, query_key_input, query_key);
  linear<T, Arch>(context, layer.value, value_input, value);
  scaled_dot_product_attention<T, Arch>(context, query_key.column_range(0, width),
                                        query_key.column_range(width, width), value, sequences,
                                        layer.heads, attention_scale<T>(width, layer.heads), {},
                                        attended, nullptr, layer.query_key.weights.precision());
  linear<T, Arch>(context, layer.out, attended, out, options);
}

}  // namespace q2l::ops
