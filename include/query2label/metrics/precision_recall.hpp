// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "query2label/metrics/scored_images.hpp"

namespace q2l {

/// The six figures of multi-label papers, each in 0..1.
struct PrecisionRecall {
  double cp = 0;   ///< precision averaged over labels; 0 for a label never predicted
  double cr = 0;   ///< recall averaged over the labels that have positives
  double cf1 = 0;  ///< harmonic mean of cp and cr
  double op = 0;   ///< precision over all decisions
  double or_ = 0;  ///< recall over all decisions
  double of1 = 0;  ///< harmonic mean of op and or_
  std::vector<std::size_t> left_out;  ///< the labels without positives
};

namespace detail {

inline double ratio(std::size_t part, std::size_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

inline double f1(double precision, double recall) {
  return precision + recall == 0 ? 0.0 : 2 * precision * recall / (precision + recall);
}

/// `predicted` [N, K], 0 or 1.
inline PrecisionRecall precision_recall(const ScoredImages& set,
                                        const std::vector<std::uint8_t>& predicted) {
  PrecisionRecall result;
  std::size_t all_hits = 0;
  std::size_t all_predicted = 0;
  std::size_t all_positives = 0;
  for (std::size_t k = 0; k < set.labels; ++k) {
    std::size_t hits = 0;
    std::size_t chosen = 0;
    std::size_t positives = 0;
    for (std::size_t i = k; i < predicted.size(); i += set.labels) {
      if (set.truth[i] == unjudged) continue;
      if (predicted[i] != 0 && set.truth[i] != 0) ++hits;
      chosen += predicted[i];
      positives += set.truth[i];
    }
    result.cp += ratio(hits, chosen);
    result.cr += ratio(hits, positives);
    if (positives == 0) result.left_out.push_back(k);
    all_hits += hits;
    all_predicted += chosen;
    all_positives += positives;
  }
  const std::size_t with_positives = set.labels - result.left_out.size();
  result.cp /= static_cast<double>(set.labels);
  if (with_positives > 0) result.cr /= static_cast<double>(with_positives);
  result.op = ratio(all_hits, all_predicted);
  result.or_ = ratio(all_hits, all_positives);
  result.cf1 = f1(result.cp, result.cr);
  result.of1 = f1(result.op, result.or_);
  return result;
}

inline std::vector<std::uint8_t> predicted_above(const ScoredImages& set, float threshold) {
  std::vector<std::uint8_t> predicted(set.scores.size());
  std::ranges::transform(set.scores, predicted.begin(),
                         [&](float score) -> std::uint8_t { return score >= threshold ? 1 : 0; });
  return predicted;
}

/// Clears all but the `best` best labels of each image; of equal scores the first in the model's
/// order stays.
inline void keep_best(const ScoredImages& set, std::size_t best,
                      std::vector<std::uint8_t>& predicted) {
  if (best == 0)
    throw Error(ErrorCode::bad_argument, "the best 0 labels are none", {.subject = "best"});
  if (best >= set.labels) return;
  std::vector<std::size_t> order(set.labels);
  for (std::size_t row = 0; row < predicted.size(); row += set.labels) {
    const auto scores = set.scores.subspan(row, set.labels);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(best);
    std::nth_element(order.begin(), middle, order.end(), [&](std::size_t a, std::size_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    std::for_each(middle, order.end(), [&](std::size_t k) { predicted[row + k] = 0; });
  }
}

}  // namespace detail

/// CP to OF1 where a label is predicted if its score reaches `threshold` (equal counts).
/// Errors of ScoredImages::require_valid.
inline PrecisionRecall precision_recall_above(const ScoredImages& set, float threshold = 0.5f) {
  set.require_valid();
  return detail::precision_recall(set, detail::predicted_above(set, threshold));
}

/// CP to OF1 where the `best` best labels of an image are predicted whatever their scores: one of
/// the two things called "top-3". Throws bad_argument for best = 0 as well.
inline PrecisionRecall precision_recall_best(const ScoredImages& set, std::size_t best = 3) {
  set.require_valid();
  std::vector<std::uint8_t> predicted(set.scores.size(), 1);
  detail::keep_best(set, best, predicted);
  return detail::precision_recall(set, predicted);
}

/// CP to OF1 where those of the `best` best labels are predicted that also reach `threshold`: the
/// other "top-3". Throws bad_argument for best = 0 as well.
inline PrecisionRecall precision_recall_best_above(const ScoredImages& set, std::size_t best = 3,
                                                   float threshold = 0.5f) {
  set.require_valid();
  std::vector<std::uint8_t> predicted = detail::predicted_above(set, threshold);
  detail::keep_best(set, best, predicted);
  return detail::precision_recall(set, predicted);
}

}  // namespace q2l
