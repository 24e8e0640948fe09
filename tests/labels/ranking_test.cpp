// SPDX-License-Identifier: MIT
#include "query2label/labels/ranking.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "support/error_of.hpp"

using q2l::ErrorCode;
using q2l::RankedLabel;
using q2l::test::error_of;

namespace {

using Ranking = std::vector<RankedLabel>;
const std::vector<float> five_scores = {0.2f, 0.9f, 0.5f, 0.9f, 0.4f};

}  // namespace

TEST_CASE(
    "Labels are ranked by score, equal scores by index, and a score equal to the threshold passes",
    "[labels]") {
  CHECK(q2l::labels_above(five_scores, 0.5f) == Ranking{{1, 0.9f}, {3, 0.9f}, {2, 0.5f}});
  CHECK(q2l::labels_above(five_scores, 1.0f).empty());
  CHECK(q2l::labels_above(five_scores, 0.0f).size() == 5);
}

TEST_CASE("Every label may have its own threshold", "[labels]") {
  const std::array thresholds = {0.1f, 0.95f, 0.6f, 0.9f, 0.0f};
  CHECK(q2l::labels_above(five_scores, thresholds) == Ranking{{3, 0.9f}, {4, 0.4f}, {0, 0.2f}});
  CHECK(q2l::best_labels_above(five_scores, 4, thresholds) == Ranking{{3, 0.9f}, {4, 0.4f}});
}

TEST_CASE("The best labels with and without a threshold", "[labels]") {
  CHECK(q2l::best_labels(five_scores, 4) == Ranking{{1, 0.9f}, {3, 0.9f}, {2, 0.5f}, {4, 0.4f}});
  CHECK(q2l::best_labels_above(five_scores, 4, 0.5f) == Ranking{{1, 0.9f}, {3, 0.9f}, {2, 0.5f}});
  CHECK(q2l::best_labels(five_scores, 1) == Ranking{{1, 0.9f}});
  CHECK(q2l::best_labels(five_scores, 99).size() == 5);
  CHECK(q2l::best_labels({}, 3).empty());
}

TEST_CASE("Scores that are not numbers are never ranked", "[labels]") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> broken = {0.1f, bad};
    const auto error = error_of([&] { (void)q2l::labels_above(broken, 0.5f); });
    CHECK(error.code() == ErrorCode::non_finite_output);
    CHECK(error.place().subject == "label 1");
    CHECK(error_of([&] { (void)q2l::best_labels(broken, 1); }).code() ==
          ErrorCode::non_finite_output);
  }
}

TEST_CASE("Thresholds outside 0..1, a wrong number of them and the best 0 are refused",
          "[labels]") {
  for (const float bad : {-0.1f, 1.1f, 2.0f, std::numeric_limits<float>::quiet_NaN()}) {
    const auto error = error_of([&] { (void)q2l::labels_above(five_scores, bad); });
    CHECK(error.code() == ErrorCode::bad_argument);
    CHECK(error.place().subject == "thresholds");
  }
  const std::array two = {0.5f, 0.5f};
  const auto count = error_of([&] { (void)q2l::best_labels_above(five_scores, 3, two); });
  CHECK(count.code() == ErrorCode::bad_argument);
  CHECK(count.place().expected == "1 or 5");
  CHECK(count.place().actual == "2");
  CHECK(error_of([] { (void)q2l::best_labels(five_scores, 0); }).place().subject == "best");
}
