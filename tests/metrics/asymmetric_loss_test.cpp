// SPDX-License-Identifier: MIT
#include "query2label/metrics/asymmetric_loss.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/error_of.hpp"

using q2l::AsymmetricLoss;
using q2l::ErrorCode;
using q2l::test::error_of;

TEST_CASE("The asymmetric loss follows the paper's formula", "[metrics]") {
  const AsymmetricLoss loss{.gamma_positive = 1, .gamma_negative = 4, .margin = 0.05};
  for (const double logit : {-8.0, -2.5, -0.3, 0.0, 0.7, 3.0, 9.0}) {
    const double p = 1 / (1 + std::exp(-logit));
    const double q = std::max(p - 0.05, 0.0);
    INFO("logit " << logit);
    CHECK(loss(logit, true) == Approx(-(1 - p) * std::log(p)).epsilon(1e-10));
    CHECK(loss(logit, false) == Approx(-std::pow(q, 4) * std::log(1 - q)).epsilon(1e-10));
  }
}

TEST_CASE("Without focusing and margin it is binary cross-entropy", "[metrics]") {
  const AsymmetricLoss loss{.gamma_positive = 0, .gamma_negative = 0, .margin = 0};
  CHECK(loss(0, true) == Approx(std::log(2)).epsilon(1e-15));
  CHECK(loss(0, false) == Approx(std::log(2)).epsilon(1e-15));
  CHECK(loss(800, false) == Approx(800).epsilon(1e-12));
  CHECK(loss(-800, true) == Approx(800).epsilon(1e-12));
  CHECK(loss(800, true) == Approx(0).margin(1e-300));
}

TEST_CASE("A negative below the margin costs nothing", "[metrics]") {
  const AsymmetricLoss loss;
  CHECK(loss(-3, false) == 0);   // p = 0.047
  CHECK(loss(-2.9, false) > 0);  // p = 0.052
}

TEST_CASE("Extreme logits give finite losses", "[metrics]") {
  const AsymmetricLoss loss;
  for (const double logit : {-1e30, -1e4, 1e4, 1e30})
    for (const bool positive : {false, true}) CHECK(std::isfinite(loss(logit, positive)));
}

TEST_CASE("The mean loss sums labels and averages images", "[metrics]") {
  const AsymmetricLoss loss;
  const std::vector<float> logits = {0.5f, -1.5f, 2.0f, 0.25f};
  const std::vector<std::uint8_t> truth = {1, 0, 0, 1};
  const double expected =
      (loss(0.5, true) + loss(-1.5, false) + loss(2.0, false) + loss(0.25, true)) / 2;
  CHECK(loss.mean(logits, truth, 2) == Approx(expected).epsilon(1e-14));
}

TEST_CASE("The mean loss refuses sizes that disagree and bad parameters", "[metrics]") {
  const std::vector<float> logits = {0.5f, -1.5f, 2.0f};
  const std::vector<std::uint8_t> truth = {1, 0, 0};
  const auto code = [&](const AsymmetricLoss& loss, std::size_t labels) {
    return error_of([&] { (void)loss.mean(logits, truth, labels); }).code();
  };
  CHECK(code({}, 2) == ErrorCode::bad_argument);
  CHECK(code({}, 0) == ErrorCode::bad_argument);
  CHECK(code({.gamma_positive = -1}, 3) == ErrorCode::bad_argument);
  CHECK(code({.margin = std::numeric_limits<double>::quiet_NaN()}, 3) == ErrorCode::bad_argument);
  CHECK(error_of([&] { (void)AsymmetricLoss{}.mean({}, {}, 3); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("An unjudged label adds nothing to the mean loss", "[metrics]") {
  const AsymmetricLoss loss;
  const std::vector<float> logits = {0.5f, -1.5f, 2.0f, 0.25f};
  const double expected = (loss(0.5, true) + loss(0.25, false)) / 2;
  const std::vector<std::uint8_t> truth = {1, q2l::unjudged, q2l::unjudged, 0};
  CHECK(loss.mean(logits, truth, 2) == Approx(expected).epsilon(1e-14));
  const std::vector<std::uint8_t> wrong = {1, 0, 3, 0};
  CHECK(error_of([&] { (void)loss.mean(logits, wrong, 2); }).code() == ErrorCode::bad_argument);
}
