// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "query2label/metrics/scored_images.hpp"

namespace q2l {

/// The average precision of every label, in 0..1, and their mean.
struct AveragePrecision {
  std::vector<std::optional<double>> per_label;  ///< [K]; empty for a label without positives
  std::vector<std::size_t> left_out;             ///< the labels without positives
  double mean = 0;                               ///< over the labels that have one; 0 if none has
};

namespace detail {

/// One image's answer for one label.
struct ScoredAnswer {
  float score;
  bool positive;
};

/// Area under the precision envelope (VOC 2010): the sum over recall steps of the best precision at
/// that recall or more. Images of equal score are one step, so the result does not depend on the
/// order of the images.
inline std::optional<double> envelope_area(std::vector<ScoredAnswer>& answers) {
  std::ranges::sort(answers,
                    [](const ScoredAnswer& a, const ScoredAnswer& b) { return a.score > b.score; });
  const auto positives = std::ranges::count(answers, true, &ScoredAnswer::positive);
  if (positives == 0) return std::nullopt;

  // From the lowest score up, so that the best precision at this recall or more is known at once.
  double area = 0;
  double best_precision = 0;
  auto found = positives;
  for (std::size_t end = answers.size(); end > 0;) {
    std::size_t begin = end;
    const auto found_to_end = found;
    while (begin > 0 && answers[begin - 1].score == answers[end - 1].score)
      found -= answers[--begin].positive ? 1 : 0;
    best_precision =
        std::max(best_precision, static_cast<double>(found_to_end) / static_cast<double>(end));
    area += best_precision * static_cast<double>(found_to_end - found);
    end = begin;
  }
  return area / static_cast<double>(positives);
}

}  // namespace detail

/// Average precision per label and mAP, in 0..1 (papers print percent). Errors of
/// ScoredImages::require_valid.
inline AveragePrecision average_precision(const ScoredImages& set) {
  set.require_valid();
  AveragePrecision result;
  result.per_label.resize(set.labels);
  std::vector<detail::ScoredAnswer> answers;
  double sum = 0;
  for (std::size_t k = 0; k < set.labels; ++k) {
    answers.clear();
    for (std::size_t i = k; i < set.scores.size(); i += set.labels)
      if (set.truth[i] != unjudged) answers.push_back({set.scores[i], set.truth[i] != 0});
    result.per_label[k] = detail::envelope_area(answers);
    if (result.per_label[k])
      sum += *result.per_label[k];
    else
      result.left_out.push_back(k);
  }
  const std::size_t counted = set.labels - result.left_out.size();
  if (counted > 0) result.mean = sum / static_cast<double>(counted);
  return result;
}

}  // namespace q2l
