// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/avg_pool2d.hpp>

#include "reference/avg_pool2d_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l;
using simd::DefaultArch;

TEST_CASE("avg_pool2d has the output size of PyTorch's ceil mode", "[ops]") {
  CHECK(ops::AvgPool2dShape{2, 2}.output(0) == 0);
  CHECK(ops::AvgPool2dShape{2, 2}.output(1) == 1);
  CHECK(ops::AvgPool2dShape{2, 2}.output(6) == 3);
  CHECK(ops::AvgPool2dShape{2, 2}.output(7) == 4);
  CHECK(ops::AvgPool2dShape{3, 2}.output(6) == 3);
  CHECK(ops::AvgPool2dShape{1, 2}.output(6) == 3);  // a fourth window would begin outside
}

TEMPLATE_TEST_CASE("avg_pool2d averages the pixels that exist for any size", "[ops]", float,
                   double) {
  using T = TestType;
  const auto shape = GENERATE(ops::AvgPool2dShape{2, 2}, ops::AvgPool2dShape{3, 2},
                              ops::AvgPool2dShape{1, 2}, ops::AvgPool2dShape{2, 1});
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    for (const auto& size : {std::array<std::size_t, 2>{1, 2}, {3, 5}, {6, 1}}) {
      const std::size_t height = size[0];
      const std::size_t width = size[1];
      CAPTURE(shape.kernel, shape.stride, channels, height, width);
      const std::size_t pixels = 2 * height * width;
      const test::PoisonedMatrix<T> in(pixels, channels,
                                       test::fill("in", pixels * channels, 0.0, 1.0, 1));
      const FeatureMap<const T> map = in.map(2, height, width);
      const auto expected = test::AvgPool2dReference::apply<T>(shape.kernel, shape.stride, map);
      const auto result = test::same_bits_on_any_workers<T>(
          expected.rows, channels, [&](const Context& context, Matrix<T> out) {
            ops::avg_pool2d<T, DefaultArch>(
                context, shape, map,
                {out.data, 2, shape.output(height), shape.output(width), channels, out.stride});
          });
      const Matrix<const T> view(result.data(), expected.rows, channels);
      REQUIRE(test::differences(view, expected) == "");
    }
  }
}

TEST_CASE("avg_pool2d refuses shapes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const auto refusal = [](const Map& in, const Map& out, const ops::AvgPool2dShape& shape = {}) {
    const Error error = test::error_of([&] {
      test::run_planned([&](const Context& context) {
        ops::avg_pool2d<float, DefaultArch>(context, shape, in, out);
      });
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  const Map in(nullptr, 1, 5, 5, 3);
  CHECK(refusal(in, Map(nullptr, 1, 3, 3, 3), {0, 2}) == "avg_pool2d");
  CHECK(refusal(in, Map(nullptr, 1, 3, 3, 3), {2, 0}) == "avg_pool2d");
  CHECK(ops::AvgPool2dShape{2, 0}.output(5) == 0);
  CHECK(refusal(in, Map(nullptr, 2, 3, 3, 3)) == "avg_pool2d: batch of out");
  CHECK(refusal(in, Map(nullptr, 1, 3, 3, 4)) == "avg_pool2d: channels of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 3, 3)) == "avg_pool2d: height of out");
  CHECK(refusal(in, Map(nullptr, 1, 3, 2, 3)) == "avg_pool2d: width of out");
}
