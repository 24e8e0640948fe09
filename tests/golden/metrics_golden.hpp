// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "query2label/metrics/average_precision.hpp"
#include "query2label/metrics/precision_recall.hpp"
#include "query2label/weights/json_document.hpp"
#include "support/recipe.hpp"

namespace q2l::test {

/// Both sides sum a few hundred quotients in double; this is far above that and far below any wrong
/// rule.
inline constexpr double metrics_golden_bound = 1e-9;

/// The largest relative errors of our metrics against a golden file's.
struct MetricsGoldenErrors {
  double average_precision = 0;  ///< of the APs and of mAP
  double precision_recall = 0;   ///< of CP to OF1, all and top-3
  std::size_t values = 0;        ///< figures compared

  [[nodiscard]] bool ok() const {
    return values > 0 && average_precision <= metrics_golden_bound &&
           precision_recall <= metrics_golden_bound;
  }
};

namespace detail {

inline double relative_error(double actual, double expected) {
  return std::abs(actual - expected) / std::max(std::abs(expected), 1e-300);
}

}  // namespace detail

/// Computes every case of a `metrics.json` and compares. Throws if the file's truth cannot be
/// reproduced.
inline MetricsGoldenErrors check_metrics_golden(const nlohmann::json& golden) {
  MetricsGoldenErrors errors;
  for (const auto& test : golden.at("cases")) {
    const auto labels = test.at("classes").get<std::size_t>();
    const auto count = test.at("samples").get<std::size_t>() * labels;
    const auto seed = test.at("seed").get<std::uint64_t>();
    const auto& recipe = test.at("scores");
    const std::vector<float> scores =
        fill(recipe.at("name").get<std::string>(), count, recipe.at("offset").get<double>(),
             recipe.at("scale").get<double>(), seed);
    const std::vector<float> draws = fill("targets", count, 0, 1, seed);
    std::vector<std::uint8_t> truth(count);
    for (std::size_t i = 0; i < count; ++i)
      truth[i] =
          static_cast<double>(draws[i]) + 1.2 * (static_cast<double>(scores[i]) - 0.5) > 0.75;
    const auto positives = std::count(truth.begin(), truth.end(), std::uint8_t{1});
    if (positives != test.at("positives").get<std::ptrdiff_t>())
      throw std::runtime_error("metrics golden: the recipe gives " + std::to_string(positives) +
                               " positives");

    const ScoredImages set{scores, truth, labels};
    const auto compare = [&](double& worst, double actual, const nlohmann::json& expected) {
      const double error = detail::relative_error(actual, expected.get<double>());
      worst = std::isnan(error) ? error : std::max(worst, error);
      ++errors.values;
    };
    const AveragePrecision precision = average_precision(set);
    compare(errors.average_precision, 100 * precision.mean, test.at("mAP"));
    for (std::size_t k = 0; k < labels; ++k)
      compare(errors.average_precision, 100 * precision.per_label[k].value_or(NAN),
              test.at("AP").at(k));

    const auto compare_six = [&](const PrecisionRecall& actual, const nlohmann::json& expected) {
      compare(errors.precision_recall, actual.cp, expected.at("CP"));
      compare(errors.precision_recall, actual.cr, expected.at("CR"));
      compare(errors.precision_recall, actual.cf1, expected.at("CF1"));
      compare(errors.precision_recall, actual.op, expected.at("OP"));
      compare(errors.precision_recall, actual.or_, expected.at("OR"));
      compare(errors.precision_recall, actual.of1, expected.at("OF1"));
    };
    compare_six(precision_recall_above(set), test.at("all"));
    compare_six(precision_recall_best_above(set), test.at("top3"));
  }
  return errors;
}

}  // namespace q2l::test
