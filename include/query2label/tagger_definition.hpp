// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/float_environment.hpp"
#include "query2label/core/is_finite.hpp"
#include "query2label/core/machine_threads.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/schedule.hpp"
#include "query2label/core/separate_compilation.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/head/probability.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/preprocess.hpp"
#include "query2label/labels/label_file.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/labels/ranking.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/self_test.hpp"
#include "query2label/model/session.hpp"
#include "query2label/tagger.hpp"
#include "query2label/weights/packed_buffers.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l {
namespace detail {

inline constexpr std::string_view no_memory_to_tag = "no memory to tag pictures";

/// Pictures that go through the model as one batch: with more a picture gets no cheaper, and their
/// scratch is kept.
inline constexpr std::size_t most_together = 16;

/// How errors name a picture of a call.
inline std::string picture_name(std::size_t n) { return "picture " + std::to_string(n); }

/// What `work` returns; its errors name the model file.
template <class Work>
auto naming_model_file(const ModelFile& file, const Work& work) try {
  return work();
} catch (const Error& error) {
  throw error.in_file(file.path);
}

/// The threads that a tagger's options name.
struct TaggerThreads {
  explicit TaggerThreads(const TaggerOptions& options)
      : workers(options.threads != 0 ? options.threads : machine_threads()),
        runner(options.runner) {
    if (runner == nullptr) {
      pool = std::make_unique<ThreadPool>(workers);
      workers = pool->threads();  // the system may have refused some
      runner = pool.get();
    }
  }

  std::size_t workers;
  std::unique_ptr<ThreadPool> pool;
  TaskRunner* runner;
};

}  // namespace detail

struct Tagger::State : detail::TaggerThreads {
  using Model = Query2Label<>;
  class Lease;

  State(detail::TaggerThreads&& threads, std::string path_, Model&& model_,
        const TaggerOptions& options)
      : TaggerThreads(std::move(threads)),
        path(std::move(path_)),
        model(std::move(model_)),
        schedule(options.schedule),
        best(options.best),
        best_must_reach(!options.thresholds.empty()) {}

  void test(const ModelFile& file) const {
    detail::naming_model_file(file, [&] {
      if (file.weights.source().packed) verify_buffers(file.weights);
      if (file.self_test) run_self_test(model, *file.self_test, *runner, workers);
    });
  }

  void set_labels(const ModelFile& file, const TaggerOptions& options) {
    const std::size_t count = model.labels();
    std::string source = file.path;
    if (!options.labels_path.empty()) {
      labels = read_label_file(options.labels_path, options.limits);
      source = options.labels_path;
    } else if (!file.labels.empty()) {
      labels = detail::naming_model_file(file, [&] { return LabelSet(file.labels); });
    } else {
      labels = LabelSet::guess(count);
      labels_are_guessed = labels != LabelSet::numbered(count);
    }
    labels.require_size(count, source);
  }

  void set_thresholds(const ModelFile& file, const TaggerOptions& options) {
    thresholds = !options.thresholds.empty() ? options.thresholds
                 : !file.thresholds.empty()  ? file.thresholds
                                             : std::vector<float>{0.5f};
    // Ranking checks them, too; better now than with the first picture.
    if (!options.thresholds.empty()) {
      detail::require_thresholds(thresholds, model.labels());
    } else {
      detail::naming_model_file(file, [&] {
        detail::require_thresholds(thresholds, model.labels(), ErrorCode::bad_config);
      });
    }
    if (best) detail::require_best(*best);
  }

  [[nodiscard]] std::vector<Tag> rank(std::span<const float> scores) const {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());  // subnormals differ
    require_equal(scores.size(), labels.size(), "Tagger::rank: scores");
    const std::vector<RankedLabel> ranked = !best ? labels_above(scores, thresholds)
                                            : best_must_reach
                                                ? best_labels_above(scores, *best, thresholds)
                                                : best_labels(scores, *best);
    std::vector<Tag> tags;
    for (const RankedLabel& label : ranked) {
      tags.push_back({labels[label.label], label.score, label.label});
    }
    return tags;
  }

  /// Writes the scores of pictures `first` .. `last` - 1 as one batch, by up to `threads` threads.
  void score(std::span<const Image> images, std::size_t first, std::size_t last,
             std::size_t threads, std::vector<std::vector<float>>& scores);

  /// Throws non_finite_output about label `label` of picture `n` unless `logit` is a number.
  void require_finite(float logit, std::size_t n, std::size_t label) const {
    if (is_finite(logit)) return;
    throw Error(ErrorCode::non_finite_output, "the model's answer is not a number",
                {.path = path,
                 .subject = detail::picture_name(n) + ", label " + labels[label],
                 .actual = std::to_string(logit)});
  }

  /// Picture `n`'s probabilities.
  [[nodiscard]] std::vector<float> probabilities(std::span<const float> logits,
                                                 std::size_t n) const {
    std::vector<float> out;
    for (std::size_t k = 0; k < logits.size(); ++k) {
      require_finite(logits[k], n, k);
      out.push_back(probability(logits[k]));
    }
    return out;
  }

  /// Where a picture, the only one of `memory`, was searched for `labels`.
  [[nodiscard]] std::vector<AttentionMap> attention_of(Session<Model>& session,
                                                       const Memory<float>& memory,
                                                       std::span<const std::size_t> labels_) const {
    if (labels_.empty()) return {};
    const QueryResult<float> result =
        session.query(memory, {{labels_.begin(), labels_.end()}, true});
    std::vector<AttentionMap> maps;
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      require_finite(result.logits[i], 0, labels_[i]);
      maps.push_back(
          {labels_[i], result.height, result.width, result.mean_map(0, result.layers - 1, i)});
    }
    return maps;
  }

  [[nodiscard]] Memory<float> encode(Session<Model>& session, std::span<const Image> images,
                                     std::size_t threads) const {
    const ModelConfig& config = model.config();
    const std::size_t side = config.image_size;
    const std::size_t size = side * side * 3;
    AlignedBuffer<float> pixels(images.size() * size);
    parallel_for(*runner, threads, images.size(), [&](std::size_t n, std::size_t) {
      preprocess_into(images[n], side, config.normalization, pixels.span().subspan(n * size, size));
    });
    return session.encode({pixels.data(), images.size(), side, side, 3});
  }

  std::string path;  ///< of the model file
  Model model;
  Schedule schedule;
  LabelSet labels;
  bool labels_are_guessed = false;
  std::vector<float> thresholds = {};
  std::optional<std::size_t> best;
  bool best_must_reach;  ///< the thresholds
  std::mutex mutex;
  std::vector<std::unique_ptr<Session<Model>>> idle;  ///< guarded by mutex
};

/// A session for one call; afterwards it waits for the next.
class Tagger::State::Lease {
 public:
  Lease(State& state, std::size_t threads) : state_(state) {
    const std::lock_guard lock(state.mutex);
    if (!state.idle.empty()) {
      session_ = std::move(state.idle.back());
      state.idle.pop_back();
    } else {
      session_ = std::make_unique<Session<Model>>(state.model, *state.runner, threads);
      state.idle.reserve(state.idle.capacity() + 1);  // so that giving back cannot fail
    }
    session_->set_workers(threads);
  }
  ~Lease() {
    const std::lock_guard lock(state_.mutex);
    state_.idle.push_back(std::move(session_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Session<Model>& operator*() const noexcept { return *session_; }
  Session<Model>* operator->() const noexcept { return session_.get(); }

 private:
  State& state_;
  std::unique_ptr<Session<Model>> session_;
};

inline void Tagger::State::score(std::span<const Image> images, std::size_t first, std::size_t last,
                                 std::size_t threads, std::vector<std::vector<float>>& scores) {
  const FloatEnvironmentScope standard(FloatEnvironment::standard());
  const Lease session(*this, threads);
  const std::span<const Image> own = images.subspan(first, last - first);
  const QueryResult<float> result = session->query(encode(*session, own, threads));
  for (std::size_t n = first; n < last; ++n) {
    scores[n] = probabilities(result.image_logits(n - first), n);
  }
}

QUERY2LABEL_INLINE Tagger::Tagger(std::unique_ptr<State> state) noexcept
    : state_(std::move(state)) {}
QUERY2LABEL_INLINE Tagger::Tagger(Tagger&& other) noexcept = default;
QUERY2LABEL_INLINE Tagger& Tagger::operator=(Tagger&& other) noexcept = default;
QUERY2LABEL_INLINE Tagger::~Tagger() = default;

QUERY2LABEL_INLINE Tagger Tagger::load(const std::filesystem::path& path,
                                       const TaggerOptions& options) {
  return with_memory_error("no memory for the model", path.native(), [&] {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());
    detail::TaggerThreads threads(options);
    WeightOptions weight_options = options.weights;
    weight_options.threads = threads.workers;
    weight_options.runner = threads.runner;
    ModelFile file = open_model_file(path, options.config_path, options.limits, weight_options,
                                     options.precision);
    auto state = std::make_unique<State>(
        std::move(threads), file.path,
        detail::naming_model_file(file,
                                  [&] { return State::Model::load(file.weights, file.config); }),
        options);
    state->set_labels(file, options);
    state->set_thresholds(file, options);
    if (options.self_test) state->test(file);
    return Tagger(std::move(state));
  });
}

QUERY2LABEL_INLINE const LabelSet& Tagger::labels() const& noexcept { return state_->labels; }
QUERY2LABEL_INLINE LabelSet Tagger::labels() const&& { return state_->labels; }
QUERY2LABEL_INLINE bool Tagger::labels_are_guessed() const noexcept {
  return state_->labels_are_guessed;
}
QUERY2LABEL_INLINE const std::vector<float>& Tagger::thresholds() const& noexcept {
  return state_->thresholds;
}
QUERY2LABEL_INLINE std::vector<float> Tagger::thresholds() const&& { return state_->thresholds; }
QUERY2LABEL_INLINE const ModelConfig& Tagger::config() const& noexcept {
  return state_->model.config();
}
QUERY2LABEL_INLINE ModelConfig Tagger::config() const&& { return state_->model.config(); }
QUERY2LABEL_INLINE const Query2Label<>& Tagger::model() const& noexcept { return state_->model; }
QUERY2LABEL_INLINE TaskRunner& Tagger::runner() const& noexcept { return *state_->runner; }
QUERY2LABEL_INLINE std::size_t Tagger::threads() const noexcept { return state_->workers; }

QUERY2LABEL_INLINE std::vector<Tag> Tagger::tag(const Image& image) const {
  return rank(scores(image));
}

QUERY2LABEL_INLINE std::vector<Tag> Tagger::tag(const ImageView& image) const {
  return tag(to_rgb(image));
}

QUERY2LABEL_INLINE std::vector<std::vector<Tag>> Tagger::tag(std::span<const Image> images) const {
  return with_memory_error(detail::no_memory_to_tag, "", [&] {
    std::vector<std::vector<Tag>> tags;
    for (const std::vector<float>& image_scores : scores(images)) {
      tags.push_back(state_->rank(image_scores));
    }
    return tags;
  });
}

QUERY2LABEL_INLINE std::vector<float> Tagger::scores(const Image& image) const {
  return std::move(scores(std::span(&image, 1)).front());
}

QUERY2LABEL_INLINE std::vector<std::vector<float>> Tagger::scores(
    std::span<const Image> images) const {
  return with_memory_error(detail::no_memory_to_tag, "", [&] {
    State& state = *state_;
    for (std::size_t n = 0; n < images.size(); ++n) {
      require_valid(images[n], detail::picture_name(n));
    }
    std::vector<std::vector<float>> scores(images.size());
    const std::size_t apart = state.schedule == Schedule::throughput && state.workers > 1
                                  ? images.size() - images.size() % state.workers
                                  : 0;
    parallel_for(*state.runner, state.workers, apart,
                 [&](std::size_t n, std::size_t) { state.score(images, n, n + 1, 1, scores); });
    for (std::size_t first = apart; first < images.size(); first += detail::most_together) {
      const std::size_t last = std::min(first + detail::most_together, images.size());
      state.score(images, first, last, state.workers, scores);
    }
    return scores;
  });
}

QUERY2LABEL_INLINE std::vector<AttentionMap> Tagger::attention(
    const Image& image, std::span<const std::size_t> labels) const {
  if (labels.empty()) return {};
  return with_memory_error(detail::no_memory_to_tag, "", [&] {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());
    require_valid(image, detail::picture_name(0));
    const State::Lease session(*state_, state_->workers);
    const Memory<float> memory = state_->encode(*session, std::span(&image, 1), state_->workers);
    return state_->attention_of(*session, memory, labels);
  });
}

QUERY2LABEL_INLINE Explanation Tagger::explain(const Image& image) const {
  return with_memory_error(detail::no_memory_to_tag, "", [&] {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());
    require_valid(image, detail::picture_name(0));
    const State::Lease session(*state_, state_->workers);
    const Memory<float> memory = state_->encode(*session, std::span(&image, 1), state_->workers);
    Explanation out;
    out.scores = state_->probabilities(session->query(memory).logits, 0);
    out.tags = state_->rank(out.scores);
    std::vector<std::size_t> labels;
    for (const Tag& tag : out.tags) labels.push_back(tag.index);
    out.maps = state_->attention_of(*session, memory, labels);
    return out;
  });
}

QUERY2LABEL_INLINE std::vector<Tag> Tagger::rank(std::span<const float> scores) const {
  return with_memory_error(detail::no_memory_to_tag, "", [&] { return state_->rank(scores); });
}

}  // namespace q2l
