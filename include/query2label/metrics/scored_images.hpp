// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"

namespace q2l {

/// The truth of a label that counts neither way in an image: what VOC calls difficult.
inline constexpr std::uint8_t unjudged = 2;

/// What a metric judges: the scores of N images for K labels, and which labels are true.
struct ScoredImages {
  std::span<const float> scores;        ///< [N, K]
  std::span<const std::uint8_t> truth;  ///< [N, K]: 0, 1 or `unjudged`
  std::size_t labels = 0;               ///< K

  [[nodiscard]] std::size_t images() const noexcept {
    return labels == 0 ? 0 : scores.size() / labels;
  }

  /// Throws bad_argument if the sizes disagree or truth holds other numbers, non_finite_output for
  /// a score that is not a number.
  void require_valid() const {
    if (labels == 0 || scores.size() % labels != 0)
      throw Error(ErrorCode::bad_argument, "not a whole number of images",
                  {.subject = "scores",
                   .expected = "a multiple of " + std::to_string(labels),
                   .actual = std::to_string(scores.size())});
    if (truth.size() != scores.size())
      throw Error(ErrorCode::bad_argument, "scores and truth differ in size",
                  {.subject = "truth",
                   .expected = std::to_string(scores.size()),
                   .actual = std::to_string(truth.size())});
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (!is_finite(scores[i]))
        throw Error(ErrorCode::non_finite_output, "a score is not a number", {.subject = place(i)});
      if (truth[i] > unjudged)
        throw Error(ErrorCode::bad_argument, "truth is neither 0 nor 1 nor unjudged",
                    {.subject = place(i)});
    }
  }

 private:
  [[nodiscard]] std::string place(std::size_t i) const {
    return "image " + std::to_string(i / labels) + ", label " + std::to_string(i % labels);
  }
};

}  // namespace q2l
