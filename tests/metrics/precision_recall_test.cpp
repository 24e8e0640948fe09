// SPDX-License-Identifier: MIT
#include "query2label/metrics/precision_recall.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/error_of.hpp"

using q2l::ErrorCode;
using q2l::PrecisionRecall;
using q2l::test::error_of;

namespace {

// Two images, four labels. Label 3 has no positives.
const std::vector<float> image_scores = {0.9f, 0.6f, 0.5f, 0.2f,  //
                                         0.8f, 0.3f, 0.4f, 0.7f};
const std::vector<std::uint8_t> image_truth = {1, 0, 1, 0,  //
                                               1, 1, 0, 0};
const q2l::ScoredImages set{image_scores, image_truth, 4};

}  // namespace

TEST_CASE("Precision and recall at a threshold count a score equal to it", "[metrics]") {
  const PrecisionRecall result = q2l::precision_recall_above(set, 0.5f);  // predicted: 0 1 2 | 0 3
  CHECK(result.cp == Approx((1 + 0 + 1 + 0) / 4.0));
  CHECK(result.cr == Approx((1 + 0 + 1) / 3.0));  // label 3 left out
  CHECK(result.cf1 == Approx(2 * 0.5 * (2 / 3.0) / (0.5 + 2 / 3.0)));
  CHECK(result.op == Approx(3 / 5.0));
  CHECK(result.or_ == Approx(3 / 4.0));
  CHECK(result.of1 == Approx(2 * 0.6 * 0.75 / 1.35));
  CHECK(result.left_out == std::vector<std::size_t>{3});
}

TEST_CASE("The two things called top-k differ where a best label misses the threshold",
          "[metrics]") {
  const PrecisionRecall best = q2l::precision_recall_best(set, 3);  // predicted: 0 1 2 | 0 3 2
  CHECK(best.op == Approx(3 / 6.0));
  CHECK(best.cp == Approx((1 + 0 + 0.5 + 0) / 4.0));
  const PrecisionRecall both =
      q2l::precision_recall_best_above(set, 3, 0.5f);  // predicted: 0 1 2 | 0 3
  CHECK(both.op == Approx(3 / 5.0));
  const PrecisionRecall two =
      q2l::precision_recall_best_above(set, 2, 0.5f);  // predicted: 0 1 | 0 3
  CHECK(two.op == Approx(2 / 4.0));
  CHECK(two.or_ == Approx(2 / 4.0));
}

TEST_CASE("Of equal scores the first in the model's order is among the best", "[metrics]") {
  const std::vector<float> equal = {0.6f, 0.6f, 0.6f};
  const PrecisionRecall first =
      q2l::precision_recall_best({equal, std::vector<std::uint8_t>{1, 0, 0}, 3}, 1);
  CHECK(first.op == 1.0);
  const PrecisionRecall second =
      q2l::precision_recall_best({equal, std::vector<std::uint8_t>{0, 1, 0}, 3}, 1);
  CHECK(second.op == 0.0);
}

TEST_CASE("What is not judged counts neither as predicted nor as missed", "[metrics]") {
  std::vector<std::uint8_t> truth = image_truth;
  truth[1] = q2l::unjudged;  // predicted
  truth[5] = q2l::unjudged;  // not predicted
  const PrecisionRecall result =
      q2l::precision_recall_above({image_scores, truth, 4});  // predicted: 0 2 | 0 3
  CHECK(result.op == Approx(3 / 4.0));
  CHECK(result.or_ == Approx(3 / 3.0));
  CHECK(result.left_out == std::vector<std::size_t>{1, 3});
}

TEST_CASE("Nothing predicted gives zeros, not a division by zero", "[metrics]") {
  const PrecisionRecall none = q2l::precision_recall_above(set, 1.0f);
  CHECK(none.cp == 0);
  CHECK(none.op == 0);
  CHECK(none.of1 == 0);
  CHECK(none.cf1 == 0);
}

TEST_CASE("More best labels than there are means all of them", "[metrics]") {
  CHECK(q2l::precision_recall_best(set, 9).op == Approx(4 / 8.0));
  CHECK(q2l::precision_recall_best(set, 9).or_ == 1.0);
}

TEST_CASE("The best 0 labels and scores that are not numbers are refused", "[metrics]") {
  CHECK(error_of([] { (void)q2l::precision_recall_best(set, 0); }).code() ==
        ErrorCode::bad_argument);
  CHECK(error_of([] { (void)q2l::precision_recall_best_above(set, 0); }).place().subject == "best");
  const std::vector<float> infinite = {0.5f, std::numeric_limits<float>::infinity()};
  const std::vector<std::uint8_t> two = {0, 1};
  const q2l::ScoredImages bad{infinite, two, 2};
  CHECK(error_of([&] { (void)q2l::precision_recall_above(bad); }).code() ==
        ErrorCode::non_finite_output);
  CHECK(error_of([&] { (void)q2l::precision_recall_above(bad); }).place().subject ==
        "image 0, label 1");
}
