// SPDX-License-Identifier: MIT
#include "query2label/metrics/average_precision.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/error_of.hpp"

using q2l::ErrorCode;
using q2l::test::error_of;

namespace {

q2l::AveragePrecision one_label(const std::vector<float>& scores,
                                const std::vector<std::uint8_t>& truth) {
  return q2l::average_precision({scores, truth, 1});
}

}  // namespace

TEST_CASE("Average precision is the area under the precision envelope", "[metrics]") {
  // Positives at ranks 1, 4 and 5: precisions 1, 2/4, 3/5; the envelope lifts the second to 3/5.
  const auto result = one_label({0.9f, 0.8f, 0.7f, 0.6f, 0.5f}, {1, 0, 0, 1, 1});
  REQUIRE(result.per_label[0].has_value());
  CHECK(*result.per_label[0] == Approx((1 + 0.6 + 0.6) / 3).epsilon(1e-15));
  CHECK(result.mean == *result.per_label[0]);
}

TEST_CASE("Average precision of a perfect and of a reversed ranking", "[metrics]") {
  CHECK(one_label({0.9f, 0.8f, 0.1f, 0.2f}, {1, 1, 0, 0}).mean == 1.0);
  CHECK(one_label({0.1f, 0.2f, 0.8f, 0.9f}, {1, 1, 0, 0}).mean == Approx(2.0 / 4).epsilon(1e-15));
}

TEST_CASE("Images of equal score count as one step in either order", "[metrics]") {
  const double first = one_label({0.5f, 0.5f, 0.4f}, {1, 0, 1}).mean;
  const double last = one_label({0.5f, 0.5f, 0.4f}, {0, 1, 1}).mean;
  CHECK(first == last);
  CHECK(first == Approx(2.0 / 3).epsilon(1e-15));  // both steps lie under the last precision, 2/3
  CHECK(one_label({0.5f, 0.5f, 0.5f, 0.5f}, {0, 1, 0, 0}).mean == 0.25);
}

TEST_CASE("Images that are not judged for a label do not exist for it", "[metrics]") {
  const double with = one_label({0.9f, 0.85f, 0.8f, 0.1f}, {0, q2l::unjudged, 1, 1}).mean;
  CHECK(with == one_label({0.9f, 0.8f, 0.1f}, {0, 1, 1}).mean);
  CHECK_FALSE(one_label({0.9f}, {q2l::unjudged}).per_label[0].has_value());
}

TEST_CASE("A label without positives is left out of mAP and named", "[metrics]") {
  const std::vector<float> scores = {0.9f, 0.9f, 0.1f, 0.1f};  // [2 images, 2 labels]
  const std::vector<std::uint8_t> truth = {1, 0, 0, 0};
  const auto result = q2l::average_precision({scores, truth, 2});
  CHECK(result.left_out == std::vector<std::size_t>{1});
  CHECK(result.per_label[0] == 1.0);
  CHECK_FALSE(result.per_label[1].has_value());
  CHECK(result.mean == 1.0);
}

TEST_CASE("Without any positive mAP is 0 and every label is left out", "[metrics]") {
  const auto result = one_label({0.9f, 0.1f}, {0, 0});
  CHECK(result.mean == 0);
  CHECK(result.left_out.size() == 1);
}

TEST_CASE("Metrics refuse sizes that disagree and scores that are not numbers", "[metrics]") {
  const std::vector<float> scores = {0.1f, 0.2f, 0.3f, 0.4f};
  const std::vector<std::uint8_t> truth = {0, 1, 0, 1};
  const auto refused = [](const std::vector<float>& s, const std::vector<std::uint8_t>& t,
                          std::size_t labels) {
    return error_of([&] { (void)q2l::average_precision({s, t, labels}); });
  };
  CHECK(refused(scores, truth, 3).code() == ErrorCode::bad_argument);
  CHECK(refused(scores, truth, 3).place().subject == "scores");
  CHECK(refused(scores, truth, 0).code() == ErrorCode::bad_argument);
  CHECK(refused(scores, {0, 1}, 2).code() == ErrorCode::bad_argument);
  CHECK(refused(scores, {0, 1}, 2).place().subject == "truth");
  CHECK(refused(scores, {0, 1, 3, 0}, 2).code() == ErrorCode::bad_argument);
  CHECK(refused(scores, {0, 1, 3, 0}, 2).place().subject == "image 1, label 0");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(refused({0.1f, 0.2f, 0.3f, nan}, truth, 2).code() == ErrorCode::non_finite_output);
  CHECK(refused({0.1f, 0.2f, 0.3f, nan}, truth, 2).place().subject == "image 1, label 1");
}
