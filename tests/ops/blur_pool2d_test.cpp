// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/blur_pool2d.hpp>
#include <vector>

#include "reference/blur_pool2d_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l;
using simd::DefaultArch;

TEMPLATE_TEST_CASE("blur_pool2d filters every second pixel of any size", "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    for (const auto& size : {std::array<std::size_t, 2>{2, 5}, {3, 2}, {6, 8}}) {
      const std::size_t height = size[0];
      const std::size_t width = size[1];
      CAPTURE(channels, height, width);
      const std::size_t pixels = 2 * height * width;
      const test::PoisonedMatrix<T> in(pixels, channels,
                                       test::fill("in", pixels * channels, 0.0, 1.0, 1));
      const FeatureMap<const T> map = in.map(2, height, width);
      const std::size_t out_height = (height + 1) / 2;
      const std::size_t out_width = (width + 1) / 2;
      const auto result = test::same_bits_on_any_workers<T>(
          2 * out_height * out_width, channels, [&](const Context& context, Matrix<T> out) {
            ops::blur_pool2d<T, DefaultArch>(
                context, map, {out.data, 2, out_height, out_width, channels, out.stride});
          });
      const Matrix<const T> view(result.data(), 2 * out_height * out_width, channels);
      REQUIRE(test::differences(view, test::BlurPool2dReference::apply<T>(map)) == "");
    }
  }
}

TEST_CASE("blur_pool2d keeps a constant picture, border included", "[ops]") {
  const std::vector<float> in(5 * 4 * 3, 1.0f);
  std::vector<float> out(3 * 2 * 3);
  test::run_planned([&](const Context& context) {
    ops::blur_pool2d<float, DefaultArch>(context, {in.data(), 1, 5, 4, 3},
                                         {out.data(), 1, 3, 2, 3});
  });
  CHECK(out == std::vector<float>(out.size(), 1.0f));
}

TEST_CASE("blur_pool2d refuses shapes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const auto refusal = [](const Map& in, const Map& out) {
    const Error error = test::error_of([&] {
      test::run_planned(
          [&](const Context& context) { ops::blur_pool2d<float, DefaultArch>(context, in, out); });
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  CHECK(refusal(Map(nullptr, 1, 1, 4, 3), Map(nullptr, 1, 1, 2, 3)) == "blur_pool2d");
  CHECK(refusal(Map(nullptr, 1, 4, 1, 3), Map(nullptr, 1, 2, 1, 3)) == "blur_pool2d");
  const Map in(nullptr, 1, 5, 4, 3);
  CHECK(refusal(in, Map(nullptr, 2, 3, 2, 3)) == "blur_pool2d: batch of out");
  CHECK(refusal(in, Map(nullptr, 1, 3, 2, 4)) == "blur_pool2d: channels of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 2, 3)) == "blur_pool2d: height of out");
  CHECK(refusal(in, Map(nullptr, 1, 3, 3, 3)) == "blur_pool2d: width of out");
}
