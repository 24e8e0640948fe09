// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <query2label/ops/batch_norm.hpp>
#include <vector>

#include "support/error_of.hpp"

using namespace q2l;

namespace {

ops::ChannelAffine fold(const std::vector<float>& weight, const std::vector<float>& bias,
                        const std::vector<float>& mean, const std::vector<float>& variance) {
  return ops::fold_in_place_abn<float>(weight, bias, mean, variance, 1e-5, "norm.running_var");
}

}  // namespace

TEST_CASE("fold_in_place_abn scales by the magnitude of the weight plus eps", "[ops]") {
  const auto affine =
      fold({-2.0f, 2.0f, 0.0f}, {0.5f, 0.5f, 0.5f}, {3.0f, 3.0f, 3.0f}, {4.0f, 4.0f, 4.0f});
  // (|w| + 1e-5) / sqrt(4 + 1e-5), and 0.5 - 3 times that
  CHECK(affine.scale[0] == Approx(1.0000037499960938).epsilon(1e-12));
  CHECK(affine.scale[1] == affine.scale[0]);
  CHECK(affine.scale[2] == Approx(4.9999937500117187e-6).epsilon(1e-11));
  CHECK(affine.shift[0] == Approx(-2.5000112499882813).epsilon(1e-12));
  CHECK(affine.shift[2] == Approx(0.49998500001874996).epsilon(1e-12));
}

TEST_CASE("fold_in_place_abn agrees with batch norm but for the sign and eps", "[ops]") {
  const std::vector<float> weight{0.75f, 1.5f}, bias{-1.0f, 0.25f}, mean{0.5f, -2.0f},
      variance{0.3f, 9.0f};
  const auto plain = ops::fold_batch_norm<float>(weight, bias, mean, variance, 0.0, "norm");
  const auto affine = ops::fold_in_place_abn<float>(weight, bias, mean, variance, 0.0, "norm");
  CHECK(affine.scale == plain.scale);
  CHECK(affine.shift == plain.shift);
}

TEST_CASE("fold_in_place_abn refuses a negative variance and sizes that differ", "[ops]") {
  const std::vector<float> two(2, 1.0f), three(3, 1.0f);
  const Error negative = test::error_of([&] { fold(two, two, two, {1.0f, -1.0f}); });
  CHECK(negative.code() == ErrorCode::bad_weights);
  CHECK(negative.place().subject == "norm.running_var");
  CHECK(test::error_of([&] { fold(two, three, two, two); }).code() == ErrorCode::bad_argument);
  CHECK(test::error_of([&] { fold(two, two, three, two); }).code() == ErrorCode::bad_argument);
  CHECK(test::error_of([&] { fold(two, two, two, three); }).code() == ErrorCode::bad_argument);
}
