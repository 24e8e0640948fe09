// SPDX-License-Identifier: MIT
#include "golden/resize_golden.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace {

nlohmann::json read_resize_golden() {
  std::ifstream file(std::string(Q2L_TESTS_DIR) + "/golden/resize.json");
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("Resizing gives Pillow's bytes", "[golden][image]") {
  const auto errors = q2l::test::check_resize_golden(read_resize_golden());
  CHECK(errors.cases == 8);
  CHECK(errors.wrong_checksums == 0);
  CHECK(errors.largest_sample_error == 0);
  CHECK(errors.ok());
}

TEST_CASE("A resize golden with one altered figure fails", "[golden][image]") {
  nlohmann::json golden = read_resize_golden();
  golden["cases"].erase(3);  // the large ones take a while
  golden["cases"].erase(2);
  SECTION("a checksum") {
    golden["cases"][0]["crc32"] = golden["cases"][0]["crc32"].get<std::uint32_t>() ^ 1u;
    CHECK_FALSE(q2l::test::check_resize_golden(golden).ok());
  }
  SECTION("a sample") {
    auto& value = golden["cases"][1]["samples"][3][1];
    value = value.get<int>() + 1;
    CHECK_FALSE(q2l::test::check_resize_golden(golden).ok());
  }
  SECTION("a source") {
    golden["cases"][0]["seed"] = 1;
    CHECK_THROWS_AS(q2l::test::check_resize_golden(golden), std::runtime_error);
  }
}
