// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/add.hpp"
#include "query2label/ops/cross_attention.hpp"
#include "query2label/ops/feed_forward.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/multi_head_attention.hpp"
#include "query2label/transformer/transformer_shape.hpp"
#include "query2label/weights/layer_loading.hpp"

namespace q2l {

template <class T, class Arch>
struct DecoderLayer {
  std::optional<ops::SelfAttention<T, Arch>> self_attention;
  ops::CrossAttention<T, Arch> cross_attention;
  ops::FeedForward<T, Arch> feed_forward;
  ops::LayerNorm<T> norm1, norm2, norm3;  ///< norm1 only beside self_attention

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("self_attention", self.self_attention);
    visit("cross_attention", self.cross_attention);
    visit("feed_forward", self.feed_forward);
    visit("norm1", self.norm1);
    visit("norm2", self.norm2);
    visit("norm3", self.norm3);
  }
};

/// The transformer decoder: one learned query per label asks the tokens.
///   post-norm: x = norm1(x + self(x + q, x));  x = norm2(x + cross(x + q));  x = norm3(x + ffn(x))
///   pre-norm:  n = norm1(x), x += self(n + q, n);  x += cross(norm2(x) + q);  x += ffn(norm3(x))
/// with q = query_embed [K, D]. x begins as zero, so all that layer 0 does before its
/// cross-attention is a constant of the model, found once at load.
template <class T, class Arch>
class Decoder {
 public:
  /// Reads `transformer.decoder.*` and `query_embed.weight`. Throws Error bad_argument for a shape
  /// without layers.
  static Decoder load(WeightMap& weights, const TransformerShape& shape,
                      ops::CrossAttentionForm form) {
    require_argument(shape.decoder_layers > 0, "Decoder", "a decoder needs a layer");
    Decoder decoder;
    decoder.shape_ = shape;
    decoder.form_ = form;
    const std::size_t width = shape.width;
    const std::string root = "transformer.decoder.";
    for (std::size_t i = 0; i < shape.decoder_layers; ++i) {
      const std::string prefix = root + "layers." + std::to_string(i) + ".";
      DecoderLayer<T, Arch> layer;
      if (shape.has_self_attention(i)) {
        layer.self_attention = load_multi_head_attention<T>(
            weights, prefix + "self_attn", width, shape.heads,
            [](const auto& p) { return ops::SelfAttention<T, Arch>(p); });
        layer.norm1 = load_layer_norm<T>(weights, prefix + "norm1", width);
      }
      layer.cross_attention = load_multi_head_attention<T>(
          weights, prefix + "multihead_attn", width, shape.heads,
          [form](const auto& p) { return ops::CrossAttention<T, Arch>(p, form); });
      layer.feed_forward.linear1 =
          load_linear<T, Arch>(weights, prefix + "linear1", width, shape.feed_forward);
      layer.feed_forward.linear2 =
          load_linear<T, Arch>(weights, prefix + "linear2", shape.feed_forward, width);
      layer.norm2 = load_layer_norm<T>(weights, prefix + "norm2", width);
      layer.norm3 = load_layer_norm<T>(weights, prefix + "norm3", width);
      decoder.layers_.push_back(std::move(layer));
    }
    decoder.norm_ = load_layer_norm<T>(weights, root + "norm", width);
    decoder.query_embed_ = weights.take<T>("query_embed.weight", {shape.labels, width}).copy();
    decoder.prepare_first_layer(weights.threads());
    return decoder;
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("layers", self.layers_);
    visit("norm", self.norm_);
    visit("query_embed", self.query_embed_);
    visit("first_x", self.first_x_);
    visit("first_queries", self.first_queries_);
  }

  [[nodiscard]] ops::CrossAttentionForm form() const noexcept { return form_; }

  /// True when labels see each other, so that a subset costs as much as all.
  [[nodiscard]] bool labels_interact() const noexcept {
    return std::any_of(layers_.begin(), layers_.end(),
                       [](const auto& layer) { return layer.self_attention.has_value(); });
  }

  /// out [N L, D] = the decoder's normed output for the L labels of `labels` (indices below K), or
  /// for all K if it is empty. `maps`, if not null, gets the cross-attention weights
  /// [N, layers, A, L, T]. A subset's rows have the bits they have among all labels.
  void decode(const Context& context, const ops::CrossAttentionMemory<T, Arch>& memory,
              std::span<const std::size_t> labels, Matrix<T> out, T* maps) const {
    if (!labels.empty() && labels_interact()) {
      decode_all_and_select(context, memory, labels, out, maps);
    } else {
      decode_labels(context, memory, labels, out, maps);
    }
  }

 private:
  [[nodiscard]] Matrix<const T> query_embed() const noexcept {
    return {query_embed_.data(), shape_.labels, shape_.width};
  }

  /// The attention among labels, in place on x [N L, D].
  void attend_labels(const Context& context, const DecoderLayer<T, Arch>& layer, std::size_t images,
                     Matrix<const T> query_embed, Matrix<T> x) const {
    if (!layer.self_attention) return;
    const Workspace::Frame frame(context.workspace);
    const Matrix<T> positioned = context.workspace.take_matrix<T>(x.rows, x.columns);
    const Matrix<T> normed =
        shape_.pre_norm ? context.workspace.take_matrix<T>(x.rows, x.columns) : x;
    if (shape_.pre_norm) ops::layer_norm<T, Arch>(context, layer.norm1, x, normed);
    ops::add<T, Arch>(context, normed, query_embed, positioned);
    ops::self_attention<T, Arch>(context, *layer.self_attention, images, positioned, normed, x,
                                 {.residual = x});
    if (!shape_.pre_norm) ops::layer_norm<T, Arch>(context, layer.norm1, x, x);
  }

  /// The queries of the cross-attention of x [L, D], one image's labels.
  void project(const Context& context, const DecoderLayer<T, Arch>& layer,
               Matrix<const T> query_embed, Matrix<const T> x, Matrix<T> out) const {
    const Workspace::Frame frame(context.workspace);
    const Matrix<T> input = context.workspace.take_matrix<T>(x.rows, x.columns);
    if (shape_.pre_norm) {
      ops::layer_norm<T, Arch>(context, layer.norm2, x, input);
      ops::add<T, Arch>(context, input, query_embed, input);
    } else {
      ops::add<T, Arch>(context, x, query_embed, input);
    }
    ops::project_queries<T, Arch>(context, layer.cross_attention, input, out);
  }

  /// Layer 0 up to its cross-attention, which sees no picture.
  void prepare_first_layer(const Threads& threads) {
    const std::size_t labels = shape_.labels;
    const DecoderLayer<T, Arch>& layer = layers_.front();
    const std::size_t rows = layer.cross_attention.query_rows(labels);
    first_x_ = SharedBuffer<T>::to_come(labels * shape_.width);
    first_queries_ = SharedBuffer<T>::to_come(rows * shape_.width);
    if (!query_embed_.is_known()) return;
    AlignedBuffer<T> first_x(first_x_.size());
    AlignedBuffer<T> first_queries(first_queries_.size());
    std::fill_n(first_x.data(), first_x.size(), T(0));
    const Matrix<T> x{first_x.data(), labels, shape_.width};
    const Matrix<T> queries{first_queries.data(), rows, shape_.width};
    SerialRunner serial;
    const auto run = [&](Workspace& workspace) {
      const Context context{threads.runner != nullptr ? *threads.runner : serial, threads.workers,
                            workspace};
      attend_labels(context, layer, 1, query_embed(), x);
      project(context, layer, query_embed(), x, queries);
    };
    Workspace plan = Workspace::planning();
    run(plan);
    Workspace workspace(plan.peak());
    run(workspace);
    first_x_ = std::move(first_x);
    first_queries_ = std::move(first_queries);
  }

  /// Rows `labels` of each of `groups` groups of K rows.
  static void select_rows(Matrix<const T> from, std::size_t groups, std::size_t group_rows,
                          std::span<const std::size_t> labels, Matrix<T> to) noexcept {
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t i = 0; i < labels.size(); ++i) {
        std::copy_n(from.row(g * group_rows + labels[i]), from.columns,
                    to.row(g * labels.size() + i));
      }
    }
  }

  void decode_labels(const Context& context, const ops::CrossAttentionMemory<T, Arch>& memory,
                     std::span<const std::size_t> labels, Matrix<T> x, T* maps) const {
    const std::size_t images = memory.images;
    const std::size_t count = labels.empty() ? shape_.labels : labels.size();
    const std::size_t width = shape_.width;
    require_equal(x.rows, images * count, "decode: rows of out");
    const std::size_t query_rows = layers_.front().cross_attention.query_rows(count);
    const Workspace::Frame frame(context.workspace);
    const Matrix<T> queries = context.workspace.take_matrix<T>(query_rows, width);

    Matrix<const T> embed = query_embed();
    Matrix<const T> first_x{first_x_.data(), shape_.labels, width};
    const std::size_t all_query_rows = first_queries_.size() / width;
    Matrix<const T> first_queries{first_queries_.data(), all_query_rows, width};
    if (!labels.empty()) {
      const Matrix<T> chosen_embed = context.workspace.take_matrix<T>(count, width);
      const Matrix<T> chosen_x = context.workspace.take_matrix<T>(count, width);
      const Matrix<T> chosen_queries = context.workspace.take_matrix<T>(query_rows, width);
      if (!context.is_planning()) {
        select_rows(embed, 1, shape_.labels, labels, chosen_embed);
        select_rows(first_x, 1, shape_.labels, labels, chosen_x);
        select_rows(first_queries, all_query_rows / shape_.labels, shape_.labels, labels,
                    chosen_queries);
      }
      embed = chosen_embed;
      first_x = chosen_x;
      first_queries = chosen_queries;
    }
    if (!context.is_planning()) {
      for (std::size_t r = 0; r < x.rows; ++r) {
        std::copy_n(first_x.row(r % count), width, x.row(r));
      }
    }

    const std::size_t map_size = shape_.heads * count * memory.tokens_per_image();
    const Matrix<T> normed = shape_.pre_norm ? context.workspace.take_matrix<T>(x.rows, width) : x;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const DecoderLayer<T, Arch>& layer = layers_[i];
      if (i > 0) attend_labels(context, layer, images, embed, x);
      for (std::size_t n = 0; n < images; ++n) {
        const Matrix<T> own = x.row_range(n * count, count);
        if (i > 0) project(context, layer, embed, own, queries);
        ops::cross_attention<T, Arch>(context, layer.cross_attention, memory, n,
                                      i > 0 ? Matrix<const T>(queries) : first_queries, own,
                                      {.residual = own},
                                      maps ? maps + (n * layers_.size() + i) * map_size : nullptr);
      }
      ops::layer_norm<T, Arch>(context, shape_.pre_norm ? layer.norm3 : layer.norm2, x, normed);
      ops::feed_forward<T, Arch>(context, layer.feed_forward, normed, x, {.residual = x});
      if (!shape_.pre_norm) ops::layer_norm<T, Arch>(context, layer.norm3, x, x);
    }
    ops::layer_norm<T, Arch>(context, norm_, x, x);
  }

  void decode_all_and_select(const Context& context,
                             const ops::CrossAttentionMemory<T, Arch>& memory,
                             std::span<const std::size_t> labels, Matrix<T> out, T* maps) const {
    const std::size_t images = memory.images;
    const std::size_t map_rows = images * layers_.size() * shape_.heads;
    const std::size_t tokens = memory.tokens_per_image();
    const Workspace::Frame frame(context.workspace);
    const Matrix<T> all = context.workspace.take_matrix<T>(images * shape_.labels, shape_.width);
    const Matrix<T> all_maps =
        context.workspace.take_matrix<T>(maps ? map_rows * shape_.labels : 0, tokens);
    decode_labels(context, memory, {}, all, maps ? all_maps.data : nullptr);
    if (context.is_planning()) return;
    select_rows(all, images, shape_.labels, labels, out);
    if (maps) {
      select_rows(all_maps, map_rows, shape_.labels, labels,
                  Matrix<T>{maps, map_rows * labels.size(), tokens});
    }
  }

  TransformerShape shape_;
  ops::CrossAttentionForm form_ = ops::CrossAttentionForm::project_memory;
  std::vector<DecoderLayer<T, Arch>> layers_;
  ops::LayerNorm<T> norm_;
  SharedBuffer<T> query_embed_;    ///< [K, D]
  SharedBuffer<T> first_x_;        ///< [K, D]: x before layer 0's cross-attention
  SharedBuffer<T> first_queries_;  ///< its projected queries
};

}  // namespace q2l
