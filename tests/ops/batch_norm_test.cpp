// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <limits>
#include <query2label/ops/batch_norm.hpp>
#include <span>
#include <string>
#include <vector>

#include "reference/batch_norm_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/recipe.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::ErrorCode;
using q2l::ops::fold_batch_norm;

TEMPLATE_TEST_CASE("Folded batch norm is a factor and an offset for each channel", "[ops]", float,
                   double) {
  using T = TestType;
  constexpr std::size_t channels = 37;
  const auto weight = values_of<T>(fill("weight", channels, 0.0, 2.0, 1));  // of both signs
  const auto bias = values_of<T>(fill("bias", channels, 0.0, 1.0, 2));
  const auto mean = values_of<T>(fill("mean", channels, 0.0, 5.0, 3));
  const auto variance = values_of<T>(fill("variance", channels, 1.0, 0.999, 4));
  const q2l::ops::ChannelAffine affine =
      fold_batch_norm<T>(weight, bias, mean, variance, 1e-5, "norm");
  REQUIRE(affine.scale.size() == channels);
  REQUIRE(affine.shift.size() == channels);
  for (std::size_t c = 0; c < channels; ++c) {
    for (const double x : {-3.0, 0.0, 0.7, 3.0}) {
      const double actual = affine.scale[c] * x + affine.shift[c];
      CHECK(is_close(actual,
                     BatchNormReference::value(x, weight[c], bias[c], mean[c], variance[c], 1e-5),
                     BatchNormReference::error(x, weight[c], bias[c], mean[c], variance[c], 1e-5)));
    }
  }
}

TEST_CASE("A variance of zero is saved by epsilon", "[ops]") {
  const std::vector<float> one{1.0f}, zero{0.0f};
  CHECK(fold_batch_norm<float>(one, zero, zero, zero, 0.25, "norm").scale ==
        std::vector<double>{2.0});
}

TEST_CASE("A variance that is negative or no number is an error that names the tensor", "[ops]") {
  const std::vector<float> weight(2, 1.0f), zeros(2, 0.0f);
  for (const float wrong : {-1.0f, -1e-5f, std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> variance{1.0f, wrong};
    const q2l::Error error = error_of([&] {
      static_cast<void>(
          fold_batch_norm<float>(weight, zeros, zeros, variance, 0.0, "layer1.bn1.running_var"));
    });
    CHECK(error.code() == ErrorCode::bad_weights);
    CHECK(error.place().subject == "layer1.bn1.running_var");
    CHECK(error.place().actual == std::to_string(wrong));
  }
}

TEST_CASE("Batch norm of unequal sizes is refused", "[ops]") {
  const std::vector<float> two(2, 1.0f), three(3, 1.0f);
  const auto subject_of = [](std::span<const float> b, std::span<const float> m,
                             std::span<const float> v) {
    const std::vector<float> weight(2, 1.0f);
    const q2l::Error error =
        error_of([&] { static_cast<void>(fold_batch_norm<float>(weight, b, m, v, 1e-5, "norm")); });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  CHECK(subject_of(three, two, two) == "normalisation: bias");
  CHECK(subject_of(two, three, two) == "normalisation: running_mean");
  CHECK(subject_of(two, two, three) == "normalisation: running_var");
}
