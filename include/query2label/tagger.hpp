// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "query2label/core/limits.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/schedule.hpp"
#include "query2label/core/separate_compilation.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/model/query2label_forward.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l {

struct TaggerOptions {
  std::string config_path = {};  ///< configuration of a checkpoint; empty: in the file or beside it
  std::string labels_path = {};  ///< names of the labels; empty: the model's own, else those of
                                 ///< COCO, VOC or NUS-WIDE by their number
  std::vector<float> thresholds = {};  ///< one, or one per label; empty: the model's own, else 0.5
  std::optional<std::size_t> best = {};  ///< tag at most the k best labels, whatever their scores,
                                         ///< or with `thresholds` those of them that reach theirs
  std::size_t threads = 0;               ///< 0: machine_threads()
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
  friend bool operator==(const Tag&, const Tag&) = default;
};

/// Where in a picture a label was looked for.
struct AttentionMap {
  std::size_t label = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::vector<float> values;  ///< [H W], sums to 1
};

/// What `Tagger::explain` tells of a picture.
struct Explanation {
  std::vector<float> scores;       ///< of every label in the model's order
  std::vector<Tag> tags;           ///< the labels that apply, best first
  std::vector<AttentionMap> maps;  ///< one for each tag
};

/// A loaded model with its labels and pixel pipeline: picture in, ranked labels out. All functions
/// may be called from any number of threads at once; neither threads, batch, schedule nor the
/// caller's float environment change what a picture gets. After fork() while no call is running, a
/// child may call them, too; with threads of its own pool gone, on one.
class Tagger {
 public:
  /// Loads a model file or a checkpoint of the reference. Throws Error naming the file at fault,
  /// bad_argument for thresholds or a `best` that cannot be; a model is never partly loaded.
  [[nodiscard]] static Tagger load(const std::filesystem::path& path,
                                   const TaggerOptions& options = {});
  Tagger(Tagger&& other) noexcept;
  Tagger& operator=(Tagger&& other) noexcept;
  ~Tagger();

  // What is asked of a temporary tagger is a copy, or refused: nothing refers to what has ended.
  [[nodiscard]] const LabelSet& labels() const& noexcept;
  [[nodiscard]] LabelSet labels() const&&;
  /// Whether nothing named the labels, so that they have the names of the data set with as many.
  [[nodiscard]] bool labels_are_guessed() const noexcept;
  /// One for all labels, or one per label.
  [[nodiscard]] const std::vector<float>& thresholds() const& noexcept;
  [[nodiscard]] std::vector<float> thresholds() const&&;
  [[nodiscard]] const ModelConfig& config() const& noexcept;
  [[nodiscard]] ModelConfig config() const&&;
  [[nodiscard]] const Query2Label<>& model() const& noexcept;
  const Query2Label<>& model() const&& = delete;
  /// The threads that it runs on, for a `Session` of one's own.
  [[nodiscard]] TaskRunner& runner() const& noexcept;
  TaskRunner& runner() const&& = delete;
  [[nodiscard]] std::size_t threads() const noexcept;

  /// The labels that apply, best first. Several pictures cost less each and get what they get
  /// alone; at most 16 at a time take scratch. Scratch is kept for later calls, as much as calls at
  /// a time ever took. Throws Error bad_argument for an empty picture, non_finite_output when the
  /// weights overflow (layers in int8 cut their inputs to the calibrated range instead),
  /// out_of_memory.
  [[nodiscard]] std::vector<Tag> tag(const Image& image) const;
  [[nodiscard]] std::vector<Tag> tag(const ImageView& image) const;
  [[nodiscard]] std::vector<std::vector<Tag>> tag(std::span<const Image> images) const;

  /// The probability of every label in the model's order: [K], and for each picture [N][K]. Errors
  /// as `tag`.
  [[nodiscard]] std::vector<float> scores(const Image& image) const;
  [[nodiscard]] std::vector<std::vector<float>> scores(std::span<const Image> images) const;

  /// Where the labels `labels` (indices in the model's order) were looked for: the cross-attention
  /// of the last decoder layer, mean over heads. Throws Error bad_argument for an unknown label,
  /// non_finite_output, out_of_memory.
  [[nodiscard]] std::vector<AttentionMap> attention(const Image& image,
                                                    std::span<const std::size_t> labels) const;

  /// Scores, tags and where each tag was looked for, of one run of the backbone. Errors as `tag`.
  [[nodiscard]] Explanation explain(const Image& image) const;

  /// The tags that `scores` of one picture, [K] in the model's order, make under this tagger's
  /// options. Throws Error bad_argument for another number of them, non_finite_output,
  /// out_of_memory.
  [[nodiscard]] std::vector<Tag> rank(std::span<const float> scores) const;

 private:
  struct State;
  explicit Tagger(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace q2l

#ifndef QUERY2LABEL_SEPARATE_COMPILATION
#include "query2label/tagger_definition.hpp"
#endif
