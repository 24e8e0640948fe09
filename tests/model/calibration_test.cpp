// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <query2label/model/calibration.hpp>
#include <query2label/model/precision_metadata.hpp>
#include <string>
#include <vector>

#include "support/error_of.hpp"
#include "support/recipe.hpp"

using q2l::Calibration;
using q2l::Precision;
using q2l::PrecisionPlan;
using q2l::Quantization;
using q2l::ScaleChoice;

namespace {

Quantization quantization_of(std::vector<float> values, ScaleChoice choice) {
  q2l::InputRange range;
  range.add({values.data(), 1, values.size()});
  return range.quantization(choice);
}

}  // namespace

TEST_CASE("The range of a layer's input becomes 0..255 with zero among the steps", "[model]") {
  CHECK(quantization_of({0, 1, 255}, ScaleChoice::min_max) == Quantization{1.0f, 0});
  CHECK(quantization_of({3, 510}, ScaleChoice::min_max) == Quantization{2.0f, 0});
  CHECK(quantization_of({-255}, ScaleChoice::min_max) == Quantization{1.0f, 255});
  CHECK(quantization_of({-100, 155}, ScaleChoice::min_max) == Quantization{1.0f, 100});
  CHECK(quantization_of({0, 0}, ScaleChoice::min_max) == Quantization{});
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(quantization_of({0, 255, inf, -inf}, ScaleChoice::min_max) == Quantization{1.0f, 0});
}

TEST_CASE("A rare outlier is cut off where that pays", "[model]") {
  std::vector<float> values = q2l::test::fill("x", 100'000, 0.5, 0.5, 1);  // 0..1
  values[7] = 3.0f;
  const float all = quantization_of(values, ScaleChoice::min_max).scale;
  CHECK(all == Approx(3.0 / 255));
  CHECK(quantization_of(values, ScaleChoice::percentile).scale == Approx(1.0 / 255).epsilon(0.01));
  const float least = quantization_of(values, ScaleChoice::mean_squared_error).scale;
  CHECK(least < all);
  CHECK(least > 0.9f / 255);
  for (float& x : values) x = -x;
  CHECK(quantization_of(values, ScaleChoice::percentile).scale == Approx(1.0 / 255).epsilon(0.01));
}

TEST_CASE("Calibration plans int8 for the layers it saw", "[model]") {
  Calibration calibration;
  const std::vector<float> values{0, 255};
  calibration.observe("a", {values.data(), 1, 2}, {});
  const PrecisionPlan plan = calibration.plan(ScaleChoice::min_max);
  CHECK(plan.settings("a").precision == Precision::int8);
  CHECK(plan.settings("a").input == Quantization{1.0f, 0});
  CHECK(plan.settings("never seen").precision == Precision::bf16);
}

TEST_CASE("A layer's range is that of all it saw", "[model]") {
  Calibration calibration;
  for (const std::vector<float>& values : {std::vector<float>{0, 155}, {-100, 1}, {3, 3}}) {
    calibration.observe("a", {values.data(), 1, values.size()}, {});
  }
  CHECK(calibration.plan(ScaleChoice::min_max).settings("a").input == Quantization{1.0f, 100});
}

TEST_CASE("The layers that damage most become bf16 until the rest keeps within the budget",
          "[model]") {
  PrecisionPlan plan(Precision::int8);
  for (const char* layer : {"a", "b", "c"}) plan.set_input(layer, {});
  const auto answer = [](const PrecisionPlan& p) {
    std::vector<float> logits{0, 2};  // of standard deviation 1
    if (p.settings("a").precision == Precision::int8) logits[0] += 0.03f;
    if (p.settings("b").precision == Precision::int8) logits[0] += 0.5f;
    if (p.settings("c").precision == Precision::int8) logits[1] += 0.04f;
    return logits;
  };
  const std::vector<q2l::LayerDamage> damages = q2l::measure_damage(plan, answer);
  REQUIRE(damages.size() == 3);
  CHECK(damages[0].layer == "a");
  CHECK(damages[1].layer == "c");
  CHECK(damages[2].layer == "b");
  CHECK(damages[2].error == Approx(0.5 / std::sqrt(2.0)));
  q2l::keep_within(plan, damages, 0.05);
  CHECK(plan.settings("a").precision == Precision::int8);
  CHECK(plan.settings("c").precision == Precision::int8);
  CHECK(plan.settings("b").precision == Precision::bf16);
  q2l::keep_within(plan, damages, 0.03);
  CHECK(plan.settings("a").precision == Precision::int8);
  CHECK(plan.settings("c").precision == Precision::bf16);
}

TEST_CASE("A damage that is no number keeps no layer in int8", "[model]") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(q2l::relative_error(std::vector<float>{1, 1}, std::vector<float>{1, 1}) == 0);
  for (const auto& changed : {std::vector<float>{1, 2}, std::vector<float>{1, inf},
                              std::vector<float>{1, std::nanf("")}}) {
    const double error = q2l::relative_error(changed, std::vector<float>{1, 1});
    CHECK(error == std::numeric_limits<double>::infinity());
    PrecisionPlan plan(Precision::int8);
    plan.set_input("a", {});
    q2l::keep_within(plan, {{"a", error}}, 0.01);
    CHECK(plan.settings("a").precision == Precision::bf16);
  }
}

TEST_CASE("A plan survives the way through a model file's metadata", "[model]") {
  PrecisionPlan plan(Precision::int8);
  plan.except("first", Precision::f32);
  plan.set_input("layer", {0.125f, 7});
  const PrecisionPlan read =
      q2l::precision_from_json(nlohmann::json::parse(q2l::to_json(plan)->dump()));
  CHECK(read.all() == Precision::int8);
  CHECK(read.exceptions() == plan.exceptions());
  CHECK(read.inputs() == plan.inputs());
}

TEST_CASE("Metadata that is no plan is refused", "[model]") {
  const std::vector<std::string> bad = {"[]",
                                        "{}",
                                        R"({"all":"int4","layers":{},"inputs":{}})",
                                        R"({"all":3,"layers":{},"inputs":{}})",
                                        R"({"all":"bf16","layers":[],"inputs":{}})",
                                        R"({"all":"bf16","layers":{"a":"f8"},"inputs":{}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[0,0]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[-1,0]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[1e-46,0]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[1e300,0]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[1,256]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[1,-1]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":[1]}})",
                                        R"({"all":"int8","layers":{},"inputs":{"a":1}})"};
  for (const std::string& text : bad) {
    CAPTURE(text);
    const q2l::Error error = q2l::test::error_of(
        [&] { static_cast<void>(q2l::precision_from_json(nlohmann::json::parse(text))); });
    CHECK(error.code() == q2l::ErrorCode::bad_config);
    CHECK(error.place().subject == "precision");
  }
}
