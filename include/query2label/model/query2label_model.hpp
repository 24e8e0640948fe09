// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "query2label/backbone/backbone.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/float_environment.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/head/group_wise_linear.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/model/query2label_forward.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/transformer/decoder.hpp"
#include "query2label/transformer/encoder.hpp"
#include "query2label/transformer/input_projection.hpp"
#include "query2label/transformer/position_encoding.hpp"
#include "query2label/weights/packed_buffers.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// Where `Query2Label::query` writes, for L labels.
template <class T>
struct QueryOutput {
  Matrix<T> logits;        ///< [N, L]
  T* maps = nullptr;       ///< cross-attention [N, layers, A, L, T], or null
  Matrix<T> decoded = {};  ///< the decoder's output [N L, D]; scratch if data is null
};

/// A Query2Label model (arXiv 2107.10834) with its weights folded and packed: never changed after
/// load, so any number of threads may use one. All scratch is the caller's Context.
///
/// `Backbone<T, Arch>` is AnyBackbone, or one family alone for a smaller program. `T` is float;
/// double is the tests' reference.
template <class T, class Arch, template <class, class> class Backbone>
class Query2Label {
  static_assert(BackboneFor<Backbone<T, Arch>, T>,
                "a backbone has channels(), stride() and forward(): see BackboneFor");

 public:
  using Scalar = T;

  /// Takes every tensor of `weights`. Throws one Error that lists missing, misshapen and unexpected
  /// tensors; non_finite or bad_weights naming the tensor; unsupported_cpu. The model of a packed
  /// file is laid out and its buffers are found in the file, which stays open: errors as
  /// `require_packed_layout` and `map_buffers`.
  [[nodiscard]] static Query2Label load(WeightMap& weights, const ModelConfig& config);

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("backbone", self.backbone_);
    visit("input_projection", self.input_projection_);
    visit("encoder", self.encoder_);
    visit("decoder", self.decoder_);
    visit("head", self.head_);
  }

  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }
  [[nodiscard]] std::size_t labels() const noexcept { return config_.transformer.labels; }
  [[nodiscard]] std::size_t width() const noexcept { return config_.transformer.width; }
  [[nodiscard]] std::size_t stride() const noexcept { return backbone_.stride(); }
  [[nodiscard]] std::size_t backbone_channels() const noexcept { return backbone_.channels(); }
  /// The position code of the configured resolution.
  [[nodiscard]] const PositionEncoding<T>& position() const noexcept { return position_; }

  /// memory [N T, D] from normalised pictures [N, H, W, 3], T = H W / stride^2; `position` is the
  /// code of that grid. `features`, if its data is not null, gets the backbone's output
  /// [N, H / stride, W / stride, C]. Throws Error bad_argument when shapes do not fit.
  void encode(const Context& context, FeatureMap<const T> images,
              const PositionEncoding<T>& position, Matrix<T> memory,
              FeatureMap<T> features = {}) const;

  /// Asks the memory of N images for the labels `labels` (all if empty). A subset costs in
  /// proportion and gives the bits all labels give (with decoder self-attention it costs as much
  /// as all). Throws Error bad_argument for a label index of K or more, or when shapes do not fit.
  void query(const Context& context, Matrix<const T> memory, std::size_t images,
             const PositionEncoding<T>& position, std::span<const std::size_t> labels,
             const QueryOutput<T>& out) const;

 private:
  Query2Label() = default;

  ModelConfig config_;
  Backbone<T, Arch> backbone_;
  InputProjection<T, Arch> input_projection_;
  Encoder<T, Arch> encoder_;
  Decoder<T, Arch> decoder_;
  GroupWiseLinear<T> head_;
  PositionEncoding<T> position_;
};

template <class T, class Arch, template <class, class> class Backbone>
Query2Label<T, Arch, Backbone> Query2Label<T, Arch, Backbone>::load(WeightMap& weights,
                                                                    const ModelConfig& config) {
  simd::require_cpu<Arch>();
  const FloatEnvironmentScope standard(FloatEnvironment::standard());
  if (weights.source().packed) require_packed_layout<T, Arch>(weights);
  Query2Label model;
  model.config_ = config;
  const TransformerShape& shape = config.transformer;
  model.backbone_ = Backbone<T, Arch>::load(
      weights, shape_for<typename Backbone<T, Arch>::Shape>(config.backbone));
  const std::size_t channels = model.backbone_.channels();
  if (config.input_projection) {
    model.input_projection_ = InputProjection<T, Arch>::load(weights, channels, shape.width);
  } else if (channels != shape.width) {
    throw Error(ErrorCode::bad_config, "without an input projection the widths must agree",
                {.subject = "hidden_dim",
                 .expected = std::to_string(channels) + " (the backbone's channels)",
                 .actual = std::to_string(shape.width)});
  }
  const std::size_t side = config.image_size / model.backbone_.stride();
  model.encoder_ = Encoder<T, Arch>::load(weights, shape);
  model.decoder_ = Decoder<T, Arch>::load(
      weights, shape, ops::cheaper_form(shape.labels, side * side, shape.width, shape.heads));
  model.head_ = GroupWiseLinear<T>::load(weights, shape.labels, shape.width);
  require_sine_code<T>(weights, "backbone.1.pe");
  weights.finish();
  if (weights.source().packed) map_buffers(weights, model);
  model.position_ = PositionEncoding<T>(side, side, shape.width);
  return model;
}

template <class T, class Arch, template <class, class> class Backbone>
void Query2Label<T, Arch, Backbone>::encode(const Context& context, FeatureMap<const T> images,
                                            const PositionEncoding<T>& position, Matrix<T> memory,
                                            FeatureMap<T> features) const {
  const std::size_t step = stride();
  require_equal(images.channels, 3, "encode: channels of images");
  require_argument(images.height % step == 0 && images.width % step == 0 && images.height > 0 &&
                       images.width > 0,
                   "encode: images", "height and width must be multiples of the stride");
  require_equal(position.height() * step, images.height, "encode: height of images");
  require_equal(position.width() * step, images.width, "encode: width of images");
  const std::size_t tokens = position.matrix().rows;
  require_equal(memory.rows, images.batch * tokens, "encode: rows of memory");
  require_equal(memory.columns, width(), "encode: columns of memory");

  if (features.data) require_equal(features.batch, images.batch, "encode: batch of features");

  const Workspace::Frame frame(context.workspace);
  FeatureMap<T> map = features;
  if (map.data == nullptr) {
    const std::size_t channels = backbone_.channels();
    T* const data =
        input_projection_.linear ? context.workspace.take<T>(memory.rows * channels) : memory.data;
    const std::size_t pixel_stride = input_projection_.linear ? channels : memory.stride;
    map = {data, images.batch, position.height(), position.width(), channels, pixel_stride};
  }
  // One by one: a picture's maps stay in caches that a batch's overflow, and need less scratch.
  for (std::size_t n = 0; n < images.batch; ++n) {
    backbone_.forward(context, images.image(n), map.image(n));
  }
  if (input_projection_.linear) {
    ops::linear<T, Arch>(context, *input_projection_.linear, map.pixels(), memory);
  } else if (map.data != memory.data && !context.is_planning()) {
    for (std::size_t r = 0; r < memory.rows; ++r) {
      std::copy_n(map.pixels().row(r), memory.columns, memory.row(r));
    }
  }
  q2l::encode<T, Arch>(context, encoder_, images.batch, position.matrix(), memory);
}

template <class T, class Arch, template <class, class> class Backbone>
void Query2Label<T, Arch, Backbone>::query(const Context& context, Matrix<const T> memory,
                                           std::size_t images, const PositionEncoding<T>& position,
                                           std::span<const std::size_t> labels,
                                           const QueryOutput<T>& out) const {
  for (const std::size_t k : labels) {
    if (k < this->labels()) continue;
    throw Error(ErrorCode::bad_argument, "the model has fewer labels",
                {.subject = "label index",
                 .expected = "below " + std::to_string(this->labels()),
                 .actual = std::to_string(k)});
  }
  require_equal(memory.rows, images * position.matrix().rows, "query: rows of memory");
  require_equal(memory.columns, width(), "query: columns of memory");
  require_equal(out.logits.rows, images, "query: rows of logits");
  const std::size_t count = labels.empty() ? this->labels() : labels.size();
  require_equal(out.logits.columns, count, "query: columns of logits");
  if (out.decoded.data) {
    require_equal(out.decoded.rows, images * count, "query: rows of decoded");
    require_equal(out.decoded.columns, width(), "query: columns of decoded");
  }
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> decoded =
      out.decoded.data ? out.decoded : context.workspace.take_matrix<T>(images * count, width());
  const auto prepared =
      ops::prepare_memory<T, Arch>(context, decoder_.form(), images, memory, position.matrix());
  decoder_.decode(context, prepared, labels, decoded, out.maps);
  group_wise_linear<T, Arch>(context, head_, labels, decoded, out.logits);
}

}  // namespace q2l

#ifdef QUERY2LABEL_SEPARATE_COMPILATION
extern template class q2l::Query2Label<>;
#endif
