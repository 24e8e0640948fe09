// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/row_softmax_kernel.hpp"
#include "query2label/ops/add.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/multi_head_attention.hpp"
#include "query2label/ops/scaled_dot_product_attention.hpp"

namespace q2l::ops {

/// In which order a cross-attention is multiplied out. Both give the same answer but for rounding.
enum class CrossAttentionForm {
  /// Project every token: keys = (m + pos) Wk^T, values = m Wv^T. Best for many labels.
  project_memory,
  /// Project the labels instead: scores = (q_h Wk_h) (m + pos)^T, out_h = (weights_h m) Wv_h^T. The
  /// key bias drops out (the softmax ignores what is equal for all tokens) and the value bias is
  /// added once (the weights sum to 1). Best for fewer labels than tokens.
  project_labels,
};

/// The form with fewer multiply-adds for K labels, T tokens, width D and A heads.
constexpr CrossAttentionForm cheaper_form(std::size_t labels, std::size_t tokens, std::size_t width,
                                          std::size_t heads) noexcept {
  const std::size_t project_memory = 2 * tokens * width * width + 2 * labels * tokens * width;
  const std::size_t project_labels =
      2 * labels * width * width + 2 * heads * labels * tokens * width;
  return project_labels < project_memory ? CrossAttentionForm::project_labels
                                         : CrossAttentionForm::project_memory;
}

/// torch.nn.MultiheadAttention from labels to the tokens of an image, packed for one form.
template <class T, class Arch>
struct CrossAttention {
  CrossAttentionForm form = CrossAttentionForm::project_memory;
  std::size_t heads = 1;
  Linear<T, Arch> query;               ///< D -> D
  std::vector<Linear<T, Arch>> key;    ///< one D -> D; or per head w -> D, by Wk_h
  std::vector<Linear<T, Arch>> value;  ///< one D -> D; or per head D -> w, by Wv_h^T and its bias
  Linear<T, Arch> out;                 ///< D -> D

  CrossAttention() = default;
  CrossAttention(const MultiHeadAttentionParameters<T>& p, CrossAttentionForm form_)
      : form(form_),
        heads(p.checked_heads()),
        query(p.width, p.width, p.weight(0), p.bias(0), p.threads, p.settings_of("query")),
        out(p.width, p.width, p.out_proj_weight, p.out_proj_bias, p.threads,
            p.settings_of("out_proj")) {
    const std::size_t width = p.width;
    if (form == CrossAttentionForm::project_memory) {
      key.emplace_back(width, width, p.weight(1), p.bias(1), p.threads, p.settings_of("key"));
      value.emplace_back(width, width, p.weight(2), p.bias(2), p.threads, p.settings_of("value"));
      return;
    }
    // Other inputs than in the other form: what one was calibrated with is not for the other.
    ProductSettings key_settings = p.settings_of("label_key");
    const ProductSettings value_settings = p.settings_of("label_value");
    // A column of Wk_h is a row of the checkpoint's transposed: int8 weights, which share a scale
    // along that row, cannot be taken as they are.
    if (key_settings.precision == Precision::int8) key_settings.precision = Precision::bf16;
    const std::size_t head_width = width / heads;
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t row = h * head_width;
      const SharedBuffer<T> rows_k = p.weight(1).part(row * width, head_width * width);
      const SharedBuffer<T> rows_v = p.weight(2).part(row * width, head_width * width);
      Linear<T, Arch> transposed;
      transposed.name = key_settings.name;
      transposed.weights = PackedWeights<T, Arch>(
          {1, head_width, width}, kernels::PanelSource<T>{rows_k.data(), 0, width, 1},
          SharedBuffer<T>{}, p.threads, key_settings);
      key.push_back(std::move(transposed));
      value.emplace_back(width, head_width, rows_v, p.bias(2).part(row, head_width), p.threads,
                         value_settings);
    }
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("query", self.query);
    visit("key", self.key);
    visit("value", self.value);
    visit("out", self.out);
  }

  [[nodiscard]] std::size_t width() const noexcept { return query.out_features(); }
  /// Rows of the matrix that `project_queries` makes for K labels.
  [[nodiscard]] std::size_t query_rows(std::size_t labels) const noexcept {
    return form == CrossAttentionForm::project_labels ? heads * labels : labels;
  }
};

/// The tokens of N images, prepared once for all layers of a decoder.
template <class T, class Arch>
struct CrossAttentionMemory {
  std::size_t images = 0;
  Matrix<const T> tokens;      ///< m [N T, D]
  Matrix<const T> positioned;  ///< m + pos [N T, D]
  // For project_labels, one packed operand per image, one after the other:
  const T* keys = nullptr;    ///< (m + pos)^T, depth D, columns T
  const T* values = nullptr;  ///< m, depth T, columns D

  [[nodiscard]] std::size_t tokens_per_image() const noexcept { return tokens.rows / images; }
  [[nodiscard]] kernels::PanelMatrix<T, Arch> key_panels(std::size_t image) const noexcept {
    const kernels::PanelLayout<T, Arch> layout{1, tokens.columns, tokens_per_image()};
    return {layout, keys + image * layout.size()};
  }
  [[nodiscard]] kernels::PanelMatrix<T, Arch> value_panels(std::size_t image) const noexcept {
    const kernels::PanelLayout<T, Arch> layout{1, tokens_per_image(), tokens.columns};
    return {layout, values + image * layout.size()};
  }
};

/// Prepares m [N T, D] with the position code `position` [T, D] for the layers of a decoder; the
/// result lives in the workspace's current frame. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
CrossAttentionMemory<T, Arch> prepare_memory(const Context& context, CrossAttentionForm form,
                                             std::size_t images, Matrix<const T> tokens,
                                             Matrix<const T> position) {
  require_argument(images > 0 && tokens.rows > 0 && tokens.rows % images == 0, "prepare_memory",
                   "the images must divide the tokens");
  require_equal(position.rows, tokens.rows / images, "prepare_memory: rows of position");
  const Matrix<T> positioned = context.workspace.take_matrix<T>(tokens.rows, tokens.columns);
  add<T, Arch>(context, tokens, position, positioned);
  CrossAttentionMemory<T, Arch> memory{images, tokens, positioned};
  if (form == CrossAttentionForm::project_memory) return memory;

  const std::size_t count = memory.tokens_per_image();
  const auto key_layout = memory.key_panels(0).layout;
  const auto value_layout = memory.value_panels(0).layout;
  T* const keys = context.workspace.take<T>(images * key_layout.size());
  T* const values = context.workspace.take<T>(images * value_layout.size());
  for (std::size_t n = 0; n < images; ++n) {
    pack_operand<T, Arch>(context, key_layout, positioned.row(n * count), 1, positioned.stride,
                          keys + n * key_layout.size());
    pack_operand<T, Arch>(context, value_layout, tokens.row(n * count), tokens.stride, 1,
                          values + n * value_layout.size());
  }
  memory.keys = keys;
  memory.values = values;
  return memory;
}

/// Queries as `cross_attention` takes them, from label vectors x [K, D] (one image's):
/// project_memory: q [K, D]; project_labels: (q_h Wk_h) for each head, [A K, D].
template <class T, class Arch>
void project_queries(const Context& context, const CrossAttention<T, Arch>& layer,
                     Matrix<const T> x, Matrix<T> out) {
  require_equal(out.rows, layer.query_rows(x.rows), "project_queries: rows of out");
  if (layer.form == CrossAttentionForm::project_memory) {
    return linear<T, Arch>(context, layer.query, x, out);
  }
  const std::size_t head_width = layer.width() / layer.heads;
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> q = context.workspace.take_matrix<T>(x.rows, layer.width());
  linear<T, Arch>(context, layer.query, x, q);
  for (std::size_t h = 0; h < layer.heads; ++h) {
    linear<T, Arch>(context, layer.key[h], q.column_range(h * head_width, head_width),
                    out.row_range(h * x.rows, x.rows));
  }
}

/// out [K, D] = attention of K labels over the tokens of image `image`, plus the residual of
/// `options`. `queries` is what `project_queries` made. `maps`, if not null, gets the attention
/// weights [A, K, T]. Error: that of `project_queries`, `linear` of keys, values and result, and
/// `scaled_dot_product_attention`, in project_labels with scores summed over D + w elements. Throws
/// Error bad_argument when shapes do not fit or the memory was prepared for the other form.
template <class T, class Arch>
void cross_attention(const Context& context, const CrossAttention<T, Arch>& layer,
                     const CrossAttentionMemory<T, Arch>& memory, std::size_t image,
                     Matrix<const T> queries, Matrix<T> out, const OutputOptions<T>& options = {},
                     T* maps = nullptr) {
  require_argument(image < memory.images, "cross_attention", "there is no such image");
  require_argument(layer.form == CrossAttentionForm::project_memory || memory.keys != nullptr,
                   "cross_attention", "the memory was prepared for the other form");
  const std::size_t labels = out.rows;
  const std::size_t width = layer.width();
  const std::size_t tokens = memory.tokens_per_image();
  const T scale = attention_scale<T>(width, layer.heads);
  require_equal(memory.tokens.columns, width, "cross_attention: columns of the tokens");
  require_equal(queries.rows, layer.query_rows(labels), "cross_attention: rows of queries");
  require_equal(queries.columns, width, "cross_attention: columns of queries");
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> attended = context.workspace.take_matrix<T>(labels, width);

  if (layer.form == CrossAttentionForm::project_memory) {
    const Matrix<T> keys = context.workspace.take_matrix<T>(tokens, width);
    const Matrix<T> values = context.workspace.take_matrix<T>(tokens, width);
    linear<T, Arch>(context, layer.key[0], memory.positioned.row_range(image * tokens, tokens),
                    keys);
    linear<T, Arch>(context, layer.value[0], memory.tokens.row_range(image * tokens, tokens),
                    values);
    scaled_dot_product_attention<T, Arch>(context, queries, keys, values, 1, layer.heads, scale, {},
                                          attended, maps, layer.key[0].weights.precision());
  } else {
    const std::size_t head_width = width / layer.heads;
    const std::size_t rows = layer.heads * labels;
    T* const storage = maps ? maps : context.workspace.take<T>(rows * tokens);
    const Matrix<T> weights{storage, rows, tokens};
    const Matrix<T> gathered = context.workspace.take_matrix<T>(rows, width);
    matmul<T, Arch>(context, kernels::StridedRows<T>{queries.data, queries.stride},
                    memory.key_panels(image), nullptr, {}, weights);
    if (!context.is_planning()) {
      for_each_row(context, rows, tokens, [&](std::size_t r) {
        kernels::softmax_row<T, Arch>(weights.row(r), nullptr, scale, tokens);
      });
    }
    matmul<T, Arch>(context, kernels::StridedRows<T>{weights.data, weights.stride},
                    memory.value_panels(image), nullptr, {}, gathered);
    for (std::size_t h = 0; h < layer.heads; ++h) {
      linear<T, Arch>(context, layer.value[h], gathered.row_range(h * labels, labels),
                      attended.column_range(h * head_width, head_width));
    }
  }
  linear<T, Arch>(context, layer.out, attended, out, options);
}

}  // namespace q2l::ops
