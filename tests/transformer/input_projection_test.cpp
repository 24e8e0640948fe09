// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/transformer/input_projection.hpp>
#include <vector>

#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::simd::DefaultArch;

TEST_CASE("The input projection is the 1x1 convolution of the checkpoint", "[transformer]") {
  const std::vector<float> weight = fill("weight", 12 * 21, 0.0, 1.0, 1);
  const std::vector<float> bias = fill("bias", 12, 0.0, 1.0, 1);
  const std::vector<float> values = fill("x", 9 * 21, 0.0, 1.0, 1);
  q2l::WeightMap map;
  map.add("input_proj.weight", {12, 21, 1, 1}, [&] { return weight; });
  map.add("input_proj.bias", {12}, [&] { return bias; });
  const auto projection = q2l::InputProjection<float, DefaultArch>::load(map, 21, 12);
  map.finish();
  REQUIRE(projection.linear);
  const PoisonedMatrix<float> x(9, 21, values);
  PoisonedMatrix<float> out(9, 12);
  run_planned([&](const Context& context) {
    q2l::ops::linear<float, DefaultArch>(context, *projection.linear, x.view(), out.view());
  });
  CHECK(differences(out.view(), LinearReference::apply<float>({9, 21, values}, {12, 21, weight},
                                                              {1, 12, bias})) == "");
  CHECK(out.is_intact());
}

TEST_CASE("Without an input projection there is no layer", "[transformer]") {
  CHECK_FALSE(q2l::InputProjection<float, DefaultArch>().linear);
}
