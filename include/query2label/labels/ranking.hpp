// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"

namespace q2l {

/// A label of the model and its score.
struct RankedLabel {
  std::size_t label = 0;  ///< index in the model's order
  float score = 0;
  friend bool operator==(const RankedLabel&, const RankedLabel&) = default;
};

namespace detail {

inline void require_finite_scores(std::span<const float> scores) {
  for (std::size_t k = 0; k < scores.size(); ++k)
    if (!is_finite(scores[k]))
      throw Error(ErrorCode::non_finite_output, "a score is not a number",
                  {.subject = "label " + std::to_string(k), .actual = std::to_string(scores[k])});
}

inline void require_thresholds(std::span<const float> thresholds, std::size_t labels,
                               ErrorCode code = ErrorCode::bad_argument) {
  if (thresholds.size() != 1 && thresholds.size() != labels)
    throw Error(code, "wrong number of thresholds",
                {.subject = "thresholds",
                 .expected = "1 or " + std::to_string(labels),
                 .actual = std::to_string(thresholds.size())});
  for (const float threshold : thresholds)
    if (!is_finite(threshold) || threshold < 0 || threshold > 1)
      throw Error(code, "a threshold outside 0..1",
                  {.subject = "thresholds", .actual = std::to_string(threshold)});
}

inline void require_best(std::size_t best) {
  if (best == 0)
    throw Error(ErrorCode::bad_argument, "the best 0 labels are none", {.subject = "best"});
}

/// All labels, best score first; equal scores keep the model's order.
inline std::vector<RankedLabel> ranked(std::span<const float> scores) {
  std::vector<RankedLabel> all(scores.size());
  for (std::size_t k = 0; k < scores.size(); ++k) all[k] = {k, scores[k]};
  std::ranges::sort(all, [](const RankedLabel& a, const RankedLabel& b) {
    return a.score > b.score || (a.score == b.score && a.label < b.label);
  });
  return all;
}

/// Removes the labels that do not reach their threshold.
inline void drop_below(std::vector<RankedLabel>& labels, std::span<const float> thresholds) {
  std::erase_if(labels, [&](const RankedLabel& entry) {
    return entry.score < thresholds[thresholds.size() == 1 ? 0 : entry.label];
  });
}

}  // namespace detail

/// The labels whose score reaches their threshold (a score equal to it does), best first, equal
/// scores in the model's order. `scores` [K]; `thresholds` [1] for all labels or [K]. Throws
/// non_finite_output for a score, bad_argument for a threshold outside 0..1 or a wrong number of
/// them.
inline std::vector<RankedLabel> labels_above(std::span<const float> scores,
                                             std::span<const float> thresholds) {
  detail::require_finite_scores(scores);
  detail::require_thresholds(thresholds, scores.size());
  std::vector<RankedLabel> kept = detail::ranked(scores);
  detail::drop_below(kept, thresholds);
  return kept;
}

/// labels_above with one threshold for all.
inline std::vector<RankedLabel> labels_above(std::span<const float> scores, float threshold) {
  return labels_above(scores, std::span(&threshold, 1));
}

/// The `best` best labels whatever their scores (all of them if there are fewer), order as
/// labels_above: the first of the two things called "top-3". Throws non_finite_output, and
/// bad_argument for best = 0.
inline std::vector<RankedLabel> best_labels(std::span<const float> scores, std::size_t best) {
  detail::require_finite_scores(scores);
  detail::require_best(best);
  std::vector<RankedLabel> kept = detail::ranked(scores);
  if (kept.size() > best) kept.resize(best);
  return kept;
}

/// Those of the `best` best labels that also reach their threshold: the second of the two things
/// called "top-3". Errors of labels_above and best_labels.
inline std::vector<RankedLabel> best_labels_above(std::span<const float> scores, std::size_t best,
                                                  std::span<const float> thresholds) {
  detail::require_thresholds(thresholds, scores.size());
  std::vector<RankedLabel> kept = best_labels(scores, best);
  detail::drop_below(kept, thresholds);
  return kept;
}

/// best_labels_above with one threshold for all.
inline std::vector<RankedLabel> best_labels_above(std::span<const float> scores, std::size_t best,
                                                  float threshold) {
  return best_labels_above(scores, best, std::span(&threshold, 1));
}

}  // namespace q2l
