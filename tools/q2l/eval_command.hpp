// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "q2l/annotated_picture.hpp"
#include "q2l/coco_annotations.hpp"
#include "q2l/escape.hpp"
#include "q2l/exit_code.hpp"
#include "q2l/interrupt.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/progress.hpp"
#include "q2l/read_pictures.hpp"
#include "q2l/voc_annotations.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/fixed_decimals.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/metrics/average_precision.hpp"
#include "query2label/metrics/precision_recall.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {
namespace detail {

/// Where COCO keeps the pictures of an annotation file: ROOT/annotations/instances_NAME.json
/// belongs to ROOT/NAME.
inline std::string coco_pictures(const std::filesystem::path& file) {
  const std::string name = file.stem().string();
  const std::string_view lead = "instances_";
  if (!name.starts_with(lead))
    throw Failure(ExitCode::usage, "--pictures is required: " + file.string() +
                                       " is not called instances_NAME.json");
  return (file.parent_path() / ".." / name.substr(lead.size())).string();
}

inline std::vector<AnnotatedPicture> read_annotations(const EvalOptions& options,
                                                      const LabelSet& labels) {
  if (!options.voc.empty()) return read_voc_annotations(options.voc, options.split, labels);
  return read_coco_annotations(
      options.coco, options.pictures.empty() ? coco_pictures(options.coco) : options.pictures,
      labels);
}

/// The scores and truth of the pictures that could be read.
struct Judged {
  std::vector<float> scores;        ///< [N, K]
  std::vector<std::uint8_t> truth;  ///< [N, K]
  std::size_t failed = 0;           ///< pictures that could not be read
};

/// Scores the pictures, a batch at a time; a picture that cannot be read costs one message.
inline Judged score(const Tagger& tagger, std::span<const AnnotatedPicture> pictures,
                    const EvalOptions& options) {
  Judged judged;
  ThreadPool readers(std::min(options.batch, options.threads));
  Progress progress(::isatty(STDERR_FILENO) == 1, pictures.size());
  for (std::size_t begin = 0; begin < pictures.size() && !interrupted(); begin += options.batch) {
    const auto batch = pictures.subspan(begin, std::min(options.batch, pictures.size() - begin));
    auto read = read_pictures(readers, batch.size(), [&](std::size_t i) {
      return ReadPicture::shrunk(read_image(batch[i].path, {.apply_orientation = options.orient}),
                                 tagger.config().image_size);
    });
    std::vector<Image> images;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (ReadPicture* picture = std::get_if<ReadPicture>(&read[i])) {
        images.push_back(std::move(picture->image));
        judged.truth.insert(judged.truth.end(), batch[i].truth.begin(), batch[i].truth.end());
      } else {
        progress.hide();
        say(std::get<Error>(read[i]).what());
        ++judged.failed;
      }
    }
    try {
      for (const std::vector<float>& scores : tagger.scores(images))
        judged.scores.insert(judged.scores.end(), scores.begin(), scores.end());
    } catch (const Error& error) {
      throw error.in_file(options.model.model);
    }
    progress.show(begin + batch.size(), judged.failed);
  }
  return judged;
}

inline std::string percent(double part) { return fixed_decimals(100 * part, 2); }

inline void print_figures(std::string_view name, const PrecisionRecall& figures) {
  std::printf("%-20.*s", static_cast<int>(name.size()), name.data());
  for (const double figure :
       {figures.cp, figures.cr, figures.cf1, figures.op, figures.or_, figures.of1})
    std::printf(" %6s", percent(figure).c_str());
  std::printf("\n");
}

inline void print_report(const ScoredImages& set, const LabelSet& labels, float threshold) {
  const AveragePrecision precision = average_precision(set);
  const std::size_t counted = labels.size() - precision.left_out.size();
  std::printf("pictures %zu\nmAP %s over %zu of %zu labels\n\n", set.images(),
              percent(precision.mean).c_str(), counted, labels.size());

  std::printf("%-20s %6s %6s %6s %6s %6s %6s\n", "", "CP", "CR", "CF1", "OP", "OR", "OF1");
  const std::string above = "score >= " + shortest(threshold);
  print_figures(above, precision_recall_above(set, threshold));
  print_figures("best 3", precision_recall_best(set));
  print_figures("best 3, >= " + shortest(threshold),
                precision_recall_best_above(set, 3, threshold));

  std::printf("\n%6s %9s  label\n", "AP", "positives");
  for (std::size_t k = 0; k < labels.size(); ++k) {
    std::size_t positives = 0;
    for (std::size_t i = k; i < set.truth.size(); i += set.labels)
      if (set.truth[i] == 1) ++positives;
    const auto& own = precision.per_label[k];
    std::printf("%6s %9zu  %s\n", own ? percent(*own).c_str() : "-", positives,
                escape_line(labels[k]).c_str());
  }
}

}  // namespace detail

/// Prints how well a model tags annotated pictures: mAP, CP to OF1 and each label's AP, in per
/// cent. Returns the exit status.
inline int run_eval(const EvalOptions& options) {
  finish_batch_on_signals();
  const Tagger tagger = load_tagger(options);
  const std::vector<AnnotatedPicture> pictures = detail::read_annotations(options, tagger.labels());
  const detail::Judged judged = detail::score(tagger, pictures, options);
  if (interrupted()) return interrupted_status();
  if (judged.scores.empty()) throw Failure(ExitCode::some_failed, "no pictures to judge by");
  detail::print_report({judged.scores, judged.truth, tagger.labels().size()}, tagger.labels(),
                       options.threshold);
  if (judged.failed == 0) return static_cast<int>(ExitCode::done);
  say(std::to_string(judged.failed) + " of " + std::to_string(pictures.size()) +
      " pictures failed; the figures are those of the others");
  return static_cast<int>(ExitCode::some_failed);
}

}  // namespace q2l::command
