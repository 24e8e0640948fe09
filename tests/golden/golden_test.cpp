// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <fstream>
#include <string>

#include "golden/metrics_golden.hpp"
#include "golden/resize_golden.hpp"

namespace {

nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(std::string(Q2L_TESTS_DIR) + "/golden/" + name);
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("The metrics answer as the golden file does", "[golden][metrics]") {
  const auto errors = q2l::test::check_metrics_golden(read_golden("metrics.json"));
  CHECK(errors.values == 20 + 1 + 81 + 1 + 4 * 6);
  CHECK(errors.average_precision <= 1e-9);
  CHECK(errors.precision_recall <= 1e-9);
  CHECK(errors.ok());
}

TEST_CASE("A metrics golden with one altered figure fails", "[golden][metrics]") {
  nlohmann::json golden = read_golden("metrics.json");
  SECTION("an average precision") { golden["cases"][1]["AP"][80] = 29.80213; }
  SECTION("the mean") { golden["cases"][0]["mAP"] = 40.424557; }
  SECTION("a top-3 figure") { golden["cases"][0]["top3"]["OP"] = 0.3700001; }
  SECTION("an overall figure") { golden["cases"][1]["all"]["CP"] = 0.2728448; }
  CHECK_FALSE(q2l::test::check_metrics_golden(golden).ok());
}

TEST_CASE("Pictures are resized as in the golden file, to the byte", "[golden][image]") {
  const auto errors = q2l::test::check_resize_golden(read_golden("resize.json"));
  CHECK(errors.pictures == 8);
  CHECK(errors.sample == 0);
  CHECK(errors.wrong_checksums == 0);
  CHECK(errors.ok());
}

TEST_CASE("A resize golden with one altered byte fails", "[golden][image]") {
  nlohmann::json golden = read_golden("resize.json");
  nlohmann::json& test = golden["cases"][0];
  SECTION("a sample") { test["samples"][3][1] = test["samples"][3][1].get<int>() + 1; }
  SECTION("the checksum") { test["crc32"] = test["crc32"].get<std::uint32_t>() ^ 1u; }
  golden["cases"] = nlohmann::json::array({test});
  CHECK_FALSE(q2l::test::check_resize_golden(golden).ok());
}
