// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/space_to_depth.hpp>

#include "reference/space_to_depth_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l;

TEMPLATE_TEST_CASE("space_to_depth moves every block into channels for any size", "[ops]", float,
                   double) {
  using T = TestType;
  for (const std::size_t block : {1u, 2u, 4u}) {
    for (const std::size_t channels : {1u, 2u, 3u, 5u, 16u, 67u}) {
      for (const std::size_t height : {1u, 3u}) {
        for (const std::size_t width : {1u, 5u}) {
          CAPTURE(block, channels, height, width);
          const std::size_t rows = 2 * height * width;
          const test::PoisonedMatrix<T> in(
              rows * block * block, channels,
              test::fill("in", rows * block * block * channels, 0.0, 1.0, 1));
          const FeatureMap<const T> map = in.map(2, height * block, width * block);
          const std::size_t columns = block * block * channels;
          const auto result = test::same_bits_on_any_workers<T>(
              rows, columns, [&](const Context& context, Matrix<T> out) {
                ops::space_to_depth<T>(context, block, map,
                                       {out.data, 2, height, width, columns, out.stride});
              });
          const Matrix<const T> view(result.data(), rows, columns);
          REQUIRE(test::differences(view, test::SpaceToDepthReference::apply<T>(block, map)) == "");
        }
      }
    }
  }
}

TEST_CASE("space_to_depth refuses shapes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const auto refusal = [](const Map& in, const Map& out, std::size_t block = 4) {
    const Error error = test::error_of([&] {
      test::run_planned(
          [&](const Context& context) { ops::space_to_depth<float>(context, block, in, out); });
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  CHECK(refusal(Map(nullptr, 1, 8, 8, 3), Map(nullptr, 1, 2, 2, 48), 0) == "space_to_depth");
  CHECK(refusal(Map(nullptr, 1, 6, 8, 3), Map(nullptr, 1, 1, 2, 48)) == "space_to_depth");
  CHECK(refusal(Map(nullptr, 1, 8, 6, 3), Map(nullptr, 1, 2, 1, 48)) == "space_to_depth");
  const Map in(nullptr, 1, 8, 8, 3);
  CHECK(refusal(in, Map(nullptr, 2, 2, 2, 48)) == "space_to_depth: batch of out");
  CHECK(refusal(in, Map(nullptr, 1, 1, 2, 48)) == "space_to_depth: height of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 3, 48)) == "space_to_depth: width of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 2, 47)) == "space_to_depth: channels of out");
}
