// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/float_environment.hpp"
#include "query2label/core/layer_observer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/transformer/position_encoding.hpp"

namespace q2l {

/// What a model knows of N pictures: tokens [N T, D]. It can be asked any number of times.
template <class T>
struct Memory {
  std::size_t images = 0;
  std::size_t height = 0;  ///< of the token grid
  std::size_t width = 0;
  std::size_t features = 0;  ///< D
  AlignedBuffer<T> tokens;

  [[nodiscard]] Matrix<const T> matrix() const noexcept {
    return {tokens.data(), images * height * width, features};
  }
  [[nodiscard]] Matrix<T> matrix() noexcept {
    return {tokens.data(), images * height * width, features};
  }
};

/// The answers to one query.
template <class T>
struct QueryResult {
  std::size_t images = 0;
  std::size_t labels = 0;  ///< L, those asked for
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t height = 0;  ///< of the token grid
  std::size_t width = 0;
  std::vector<T> logits;  ///< [N, L]
  std::vector<T> maps;    ///< cross-attention [N, layers, A, L, H W]; empty unless asked for

  [[nodiscard]] std::span<const T> image_logits(std::size_t image) const& noexcept {
    return std::span(logits).subspan(image * labels, labels);
  }
  std::span<const T> image_logits(std::size_t image) const&& = delete;  // of a result about to end
  /// The attention of one label over the grid [H W]; it sums to 1.
  [[nodiscard]] std::span<const T> map(std::size_t image, std::size_t layer, std::size_t head,
                                       std::size_t label) const& noexcept {
    const std::size_t tokens = height * width;
    return std::span(maps).subspan(
        (((image * layers + layer) * heads + head) * labels + label) * tokens, tokens);
  }
  std::span<const T> map(std::size_t, std::size_t, std::size_t, std::size_t) const&& = delete;
  /// The mean over heads of `map`, as the reference shows it.
  [[nodiscard]] std::vector<T> mean_map(std::size_t image, std::size_t layer,
                                        std::size_t label) const {
    std::vector<T> mean(height * width, T(0));
    for (std::size_t head = 0; head < heads; ++head) {
      const std::span<const T> one = map(image, layer, head, label);
      for (std::size_t t = 0; t < mean.size(); ++t) mean[t] += one[t];
    }
    for (T& value : mean) value /= static_cast<T>(heads);
    return mean;
  }
};

struct QueryOptions {
  std::vector<std::size_t> labels;  ///< indices in the model's order; empty asks for all
  bool attention_maps = false;
};

/// One caller's scratch for running a model: after the first call of a size, nothing is allocated
/// but the results. The model may be shared by any number of sessions; a session is for one thread
/// at a time. Results do not depend on the runner, the number of workers, the batch, or the host's
/// float environment: numbers below 1.2e-38 are taken for zero, nothing traps.
template <class Model>
class Session {
 public:
  using T = typename Model::Scalar;

  /// `model` and `runner` must outlive the session.
  Session(const Model& model, TaskRunner& runner, std::size_t workers)
      : model_(&model), runner_(&runner) {
    set_workers(workers);
  }
  Session(const Model&& about_to_end, TaskRunner& runner, std::size_t workers) = delete;

  /// From the next call on, at most so many threads.
  void set_workers(std::size_t workers) noexcept { workers_ = workers == 0 ? 1 : workers; }

  /// From now on `observer` sees every layer's input and output; null for none.
  void set_observer(LayerObserver* observer) noexcept { observer_ = observer; }

  /// The tokens of normalised pictures [N, H, W, 3]; H and W multiples of the model's stride.
  /// Throws Error bad_argument when they are not, out_of_memory.
  [[nodiscard]] Memory<T> encode(FeatureMap<const T> images, FeatureMap<T> features = {}) {
    return with_memory_error(no_memory, "", [&] {
      const std::size_t height = images.height / model_->stride();
      const std::size_t width = images.width / model_->stride();
      Memory<T> memory{images.batch, height, width, model_->width(),
                       AlignedBuffer<T>(images.batch * height * width * model_->width())};
      const PositionEncoding<T>& position = position_of(height, width);
      run([&](const Context& context) {
        model_->encode(context, images, position, memory.matrix(), features);
      });
      return memory;
    });
  }

  /// The logits of the labels asked for, and their attention if asked.
  /// Throws Error bad_argument for an unknown label index, out_of_memory.
  [[nodiscard]] QueryResult<T> query(const Memory<T>& memory, const QueryOptions& options = {},
                                     Matrix<T> decoded = {}) {
    return with_memory_error(no_memory, "", [&] {
      const auto& shape = model_->config().transformer;
      QueryResult<T> result{memory.images,
                            options.labels.empty() ? shape.labels : options.labels.size(),
                            shape.decoder_layers,
                            shape.heads,
                            memory.height,
                            memory.width,
                            {},
                            {}};
      result.logits.resize(result.images * result.labels);
      if (options.attention_maps) {
        result.maps.resize(result.images * result.layers * result.heads * result.labels *
                           result.height * result.width);
      }
      const PositionEncoding<T>& position = position_of(memory.height, memory.width);
      run([&](const Context& context) {
        model_->query(context, memory.matrix(), memory.images, position, options.labels,
                      {Matrix<T>{result.logits.data(), result.images, result.labels},
                       result.maps.empty() ? nullptr : result.maps.data(), decoded});
      });
      return result;
    });
  }

  /// Bytes of scratch held.
  [[nodiscard]] std::size_t workspace_bytes() const noexcept { return workspace_.capacity(); }

 private:
  static constexpr std::string_view no_memory = "no memory to run the model";

  /// Plans `body`, makes room, runs it.
  template <class Body>
  void run(const Body& body) {
    const FloatEnvironmentScope scope(FloatEnvironment::without_subnormals());
    Workspace plan = Workspace::planning();
    body(Context{*runner_, workers_, plan, observer_});
    if (plan.peak() > workspace_.capacity()) {
      workspace_ = Workspace(0);  // given back first: the two never exist together
      workspace_ = Workspace(plan.peak());
    }
    body(Context{*runner_, workers_, workspace_, observer_});
  }

  const PositionEncoding<T>& position_of(std::size_t height, std::size_t width) {
    const auto fits = [&](const PositionEncoding<T>& code) {
      return code.height() == height && code.width() == width;
    };
    if (fits(model_->position())) return model_->position();
    if (!fits(other_position_)) {
      const FloatEnvironmentScope standard(FloatEnvironment::standard());
      other_position_ = {height, width, model_->width()};
    }
    return other_position_;
  }

  const Model* model_;
  TaskRunner* runner_;
  std::size_t workers_ = 1;
  LayerObserver* observer_ = nullptr;
  Workspace workspace_{0};
  PositionEncoding<T> other_position_;  ///< of the last grid that is not the configured one
};

}  // namespace q2l
