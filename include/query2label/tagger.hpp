// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
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
#include "query2label/core/limits.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/schedule.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/preprocess.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/labels/label_file.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/labels/ranking.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/self_test.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/packed_buffers.hpp"

namespace q2l {

struct TaggerOptions {
  std::string config_path = {};  ///< configuration of a checkpoint; empty: in the file or beside it
  std::string labels_path = {};  ///< names of the labels; empty: the model's own, else those of
                                 ///< COCO, VOC or NUS-WIDE by their number
  std::vector<float> thresholds = {};  ///< one, or one per label; empty: the model's own, else 0.5
  std::optional<std::size_t> best = {};  ///< tag the k best labels instead, whatever their scores
  std::size_t threads = 0;               ///< 0: all of the machine's
  TaskRunner* runner = nullptr;          ///< the host's threads; null: a pool of our own
  Schedule schedule = Schedule::latency;
  std::optional<Precision> precision = {};  ///< nothing: the file's; int8 needs a calibrated file
  bool self_test = false;  ///< run the test that the model file carries; check a packed file's sum
  Limits limits = {};
  WeightOptions weights = {};  ///< how the weight file is read; with the threads named above
};

/// A label that applies to a picture.
struct Tag {
  std::string label;
  float score = 0;        ///< probability, 0..1
  std::size_t index = 0;  ///< in the model's order
};

/// Where in a picture a label was looked for.
struct AttentionMap {
  std::size_t label = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::vector<float> values;  ///< [H W], sums to 1
};

/// A loaded model with its labels and pixel pipeline: picture in, ranked labels out. All functions
/// may be called from any number of threads at once; neither threads, batch, schedule nor the
/// caller's float environment change what a picture gets.
class Tagger {
 public:
  /// Loads a model file or a checkpoint of the reference. Throws Error naming the file at fault; a
  /// model is never partly loaded.
  [[nodiscard]] static Tagger load(const std::filesystem::path& path,
                                   const TaggerOptions& options = {}) {
    return with_memory_error("no memory for the model", path.native(), [&] {
      const FloatEnvironmentScope standard(FloatEnvironment::standard());
      Runner runner(options);
      WeightOptions weight_options = options.weights;
      weight_options.threads = runner.workers;
      weight_options.runner = runner.runner;
      ModelFile file = open_model_file(path, options.config_path, options.limits, weight_options,
                                       options.precision);
      Tagger tagger;
      tagger.state_ = std::make_unique<State>(std::move(runner), make_model(file), options);
      State& state = *tagger.state_;
      state.set_labels(file, options);
      state.set_thresholds(file, options);
      if (options.self_test) state.test(file);
      return tagger;
    });
  }

  [[nodiscard]] const LabelSet& labels() const noexcept { return state_->labels; }
  /// One for all labels, or one per label.
  [[nodiscard]] const std::vector<float>& thresholds() const noexcept { return state_->thresholds; }
  [[nodiscard]] const ModelConfig& config() const noexcept { return state_->model.config(); }
  [[nodiscard]] const Query2Label<>& model() const noexcept { return state_->model; }

  /// The labels that apply, best first. Throws Error bad_argument for an empty picture,
  /// non_finite_output when the weights overflow (layers in int8 cut their inputs to the calibrated
  /// range instead), out_of_memory.
  [[nodiscard]] std::vector<Tag> tag(const Image& image) const {
    return rank(scores(std::span(&image, 1)).front());
  }
  [[nodiscard]] std::vector<Tag> tag(const ImageView& image) const { return tag(to_rgb(image)); }
  [[nodiscard]] std::vector<std::vector<Tag>> tag(std::span<const Image> images) const {
    return with_memory_error(no_memory, "", [&] {
      std::vector<std::vector<Tag>> tags;
      for (const std::vector<float>& image_scores : scores(images)) {
        tags.push_back(rank(image_scores));
      }
      return tags;
    });
  }

  /// The probability of every label in the model's order, for each picture: [N][K].
  [[nodiscard]] std::vector<std::vector<float>> scores(std::span<const Image> images) const {
    return with_memory_error(no_memory, "", [&] {
      std::vector<std::vector<float>> scores(images.size());
      const std::size_t workers = state_->workers;
      const std::size_t apart = state_->schedule == Schedule::throughput && workers > 1
                                    ? images.size() - images.size() % workers
                                    : 0;
      parallel_for(*state_->runner, workers, apart,
                   [&](std::size_t n, std::size_t) { score(images.subspan(n, 1), 1, &scores[n]); });
      if (apart < images.size()) score(images.subspan(apart), workers, scores.data() + apart);
      return scores;
    });
  }

  /// Where the labels `labels` (indices in the model's order) were looked for: the cross-attention
  /// of the last decoder layer, mean over heads. Throws Error bad_argument for an unknown label,
  /// non_finite_output, out_of_memory.
  [[nodiscard]] std::vector<AttentionMap> attention(const Image& image,
                                                    std::span<const std::size_t> labels) const {
    if (labels.empty()) return {};
    return with_memory_error(no_memory, "", [&] {
      const FloatEnvironmentScope standard(FloatEnvironment::standard());
      const Lease session(*state_, state_->workers);
      const Memory<float> memory = encode(*session, std::span(&image, 1), state_->workers);
      const QueryResult<float> result =
          session->query(memory, {{labels.begin(), labels.end()}, true});
      std::vector<AttentionMap> maps;
      for (std::size_t i = 0; i < labels.size(); ++i) {
        require_finite(result.image_logits(0)[i]);
        maps.push_back(
            {labels[i], result.height, result.width, result.mean_map(0, result.layers - 1, i)});
      }
      return maps;
    });
  }

  /// The tags that `scores` of one picture, in the model's order, make under this tagger's options.
  [[nodiscard]] std::vector<Tag> rank(std::span<const float> scores) const {
    const std::vector<RankedLabel> ranked = state_->best ? best_labels(scores, *state_->best)
                                                         : labels_above(scores, state_->thresholds);
    std::vector<Tag> tags;
    for (const RankedLabel& label : ranked) {
      tags.push_back({state_->labels[label.label], label.score, label.label});
    }
    return tags;
  }

 private:
  using Model = Query2Label<>;
  static constexpr std::string_view no_memory = "no memory to tag pictures";

  /// What `work` returns; its errors name the model file.
  template <class Work>
  static auto naming(const ModelFile& file, const Work& work) try {
    return work();
  } catch (const Error& error) {
    throw error.in_file(file.path);
  }

  /// The threads that the options name.
  struct Runner {
    explicit Runner(const TaggerOptions& options)
        : workers(options.threads != 0 ? options.threads : machine_threads()),
          runner(options.runner) {
      if (runner == nullptr) {
        pool = std::make_unique<ThreadPool>(workers);
        runner = pool.get();
      }
    }

    std::size_t workers;
    std::unique_ptr<ThreadPool> pool;
    TaskRunner* runner;
  };

  struct State : Runner {
    State(Runner&& runner_, Model&& model_, const TaggerOptions& options)
        : Runner(std::move(runner_)),
          model(std::move(model_)),
          schedule(options.schedule),
          best(options.best) {}

    void test(const ModelFile& file) const {
      naming(file, [&] {
        if (file.weights.packed()) verify_buffers(file.weights);
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
        labels = naming(file, [&] { return LabelSet(file.labels); });
      } else {
        labels = LabelSet::guess(count);
      }
      labels.require_size(count, source);
    }

    void set_thresholds(const ModelFile& file, const TaggerOptions& options) {
      thresholds = !options.thresholds.empty() ? options.thresholds
                   : !file.thresholds.empty()  ? file.thresholds
                                               : std::vector<float>{0.5f};
      // Ranking checks them; better now than with the first picture.
      const auto rank_nothing = [&] {
        return labels_above(std::vector<float>(model.labels(), 0.0f), thresholds);
      };
      static_cast<void>(options.thresholds.empty() ? naming(file, rank_nothing) : rank_nothing());
    }

    Model model;
    Schedule schedule;
    LabelSet labels;
    std::vector<float> thresholds = {};
    std::optional<std::size_t> best;
    std::mutex mutex;
    std::vector<std::unique_ptr<Session<Model>>> idle;  ///< guarded by mutex
  };

  /// A session for one call; afterwards it waits for the next.
  class Lease {
   public:
    Lease(State& state, std::size_t workers) : state_(state) {
      const std::lock_guard lock(state.mutex);
      if (!state.idle.empty()) {
        session_ = std::move(state.idle.back());
        state.idle.pop_back();
      } else {
        session_ = std::make_unique<Session<Model>>(state.model, *state.runner, workers);
        state.idle.reserve(state.idle.capacity() + 1);  // so that giving back cannot fail
      }
      session_->set_workers(workers);
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

  Tagger() = default;

  static Model make_model(ModelFile& file) {
    return naming(file, [&] { return Model::load(file.weights, file.config); });
  }

  /// The scores of each picture of one batch, by up to `workers` threads.
  void score(std::span<const Image> images, std::size_t workers, std::vector<float>* scores) const {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());
    const Lease session(*state_, workers);
    const QueryResult<float> result = session->query(encode(*session, images, workers));
    for (std::size_t n = 0; n < images.size(); ++n) {
      for (const float logit : result.image_logits(n)) scores[n].push_back(probability(logit));
    }
  }

  [[nodiscard]] Memory<float> encode(Session<Model>& session, std::span<const Image> images,
                                     std::size_t workers) const {
    const ModelConfig& config = state_->model.config();
    const std::size_t side = config.image_size;
    const std::size_t size = side * side * 3;
    AlignedBuffer<float> pixels(images.size() * size);
    parallel_for(*state_->runner, workers, images.size(), [&](std::size_t n, std::size_t) {
      preprocess_into(images[n], static_cast<int>(side), config.normalization,
                      pixels.span().subspan(n * size, size));
    });
    return session.encode({pixels.data(), images.size(), side, side, 3});
  }

  static void require_finite(float logit) {
    if (!is_finite(logit)) {
      throw Error(ErrorCode::non_finite_output, "the model's answer is not a number");
    }
  }

  static float probability(float logit) {
    require_finite(logit);
    return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logit))));
  }

  std::unique_ptr<State> state_;
};

}  // namespace q2l
