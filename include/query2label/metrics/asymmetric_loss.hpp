// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "query2label/core/error.hpp"
#include "query2label/metrics/scored_images.hpp"

namespace q2l {

/// The parameters of the asymmetric loss (Ben-Baruch et al., "Asymmetric Loss For Multi-Label
/// Classification", 2021), with that paper's values for MS-COCO.
struct AsymmetricLoss {
  double gamma_positive = 0;  ///< focusing of positives
  double gamma_negative = 4;  ///< focusing of negatives
  double margin = 0.05;       ///< probability below which a negative costs nothing

  /// The loss of one decision, from its logit: -(1 - p)^gamma_positive log p for a positive and
  /// -q^gamma_negative log(1 - q) with q = max(p - margin, 0) for a negative, p = sigmoid(logit).
  [[nodiscard]] double operator()(double logit, bool positive) const {
    const double absent = 1 / (1 + std::exp(logit));  // 1 - p, exact where p rounds to 1
    if (positive) return std::pow(absent, gamma_positive) * softplus(-logit);
    const double shifted = std::max(1 / (1 + std::exp(-logit)) - margin, 0.0);
    if (shifted == 0) return 0;
    return std::pow(shifted, gamma_negative) *
           (margin == 0 ? softplus(logit) : -std::log(absent + margin));
  }

  /// The loss of N images: the sum over labels, averaged over images. `logits` and `truth` [N, K];
  /// an `unjudged` label adds nothing. Throws bad_argument if the sizes disagree, N or K is 0,
  /// truth holds other numbers than 0, 1 and `unjudged`, or a parameter is negative or not a
  /// number.
  [[nodiscard]] double mean(std::span<const float> logits, std::span<const std::uint8_t> truth,
                            std::size_t labels) const {
    if (!(gamma_positive >= 0 && gamma_negative >= 0 && margin >= 0 && margin < 1))
      throw Error(ErrorCode::bad_argument, "focusing must not be negative and the margin in 0..1");
    if (labels == 0 || logits.empty() || logits.size() % labels != 0 ||
        logits.size() != truth.size())
      throw Error(
          ErrorCode::bad_argument, "logits and truth are not images x labels",
          {.expected = "a multiple of " + std::to_string(labels) + " of each",
           .actual = std::to_string(logits.size()) + " and " + std::to_string(truth.size())});
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (truth[i] > unjudged)
        throw Error(ErrorCode::bad_argument, "truth is neither 0 nor 1 nor unjudged",
                    {.actual = std::to_string(truth[i])});
      if (truth[i] != unjudged) sum += (*this)(logits[i], truth[i] != 0);
    }
    return sum / static_cast<double>(logits.size() / labels);
  }

 private:
  /// log(1 + exp(x)) without overflow.
  static double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
};

}  // namespace q2l
