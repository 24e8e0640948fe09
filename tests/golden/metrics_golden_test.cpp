// SPDX-License-Identifier: MIT
#include "golden/metrics_golden.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <string>

namespace {

nlohmann::json read_metrics_golden() {
  std::ifstream file(std::string(Q2L_TESTS_DIR) + "/golden/metrics.json");
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("The metrics answer as the golden file does", "[golden][metrics]") {
  const auto errors = q2l::test::check_metrics_golden(read_metrics_golden());
  CHECK(errors.values == 20 + 1 + 81 + 1 + 4 * 6);
  CHECK(errors.average_precision <= q2l::test::metrics_golden_bound);
  CHECK(errors.precision_recall <= q2l::test::metrics_golden_bound);
  CHECK(errors.ok());
}

TEST_CASE("A metrics golden with one altered figure fails", "[golden][metrics]") {
  nlohmann::json golden = read_metrics_golden();
  SECTION("an average precision") { golden["cases"][1]["AP"][80] = 29.80213; }
  SECTION("the mean") { golden["cases"][0]["mAP"] = 40.424557; }
  SECTION("a top-3 figure") { golden["cases"][0]["top3"]["OP"] = 0.3700001; }
  SECTION("an overall figure") { golden["cases"][1]["all"]["CP"] = 0.2728448; }
  CHECK_FALSE(q2l::test::check_metrics_golden(golden).ok());
}
