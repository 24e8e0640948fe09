// SPDX-License-Identifier: MIT
// That q2l-golden's check can fail; the golden files themselves are tests of their own.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "golden/check_golden.hpp"

namespace {

nlohmann::json read_model_golden() {
  std::ifstream file(std::string(Q2L_TESTS_DIR) + "/golden/tiny-resnet18-d64-k5.json");
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

/// Multiplies the scale of one generated tensor.
void alter_tensor(nlohmann::json& golden, const std::string& name, double factor) {
  for (nlohmann::json& tensor : golden["tensors"]) {
    if (tensor[0] == name) {
      tensor[3] = tensor[3].get<double>() * factor;
      return;
    }
  }
  FAIL("no tensor " << name);
}

}  // namespace

TEST_CASE("A model golden passes as it is", "[golden]") {
  CHECK(q2l::test::check_golden(read_model_golden(), 2).ok());
}

TEST_CASE("A model golden with anything altered fails", "[golden]") {
  nlohmann::json golden = read_model_golden();
  SECTION("a weight of the backbone") {
    alter_tensor(golden, "backbone.0.body.layer3.1.conv2.weight", 1.001);
  }
  SECTION("a weight of the decoder") {
    alter_tensor(golden, "transformer.decoder.layers.1.linear2.bias", 1.01);
  }
  SECTION("a weight of the head") { alter_tensor(golden, "fc.b", 1.01); }
  SECTION("a logit") {
    nlohmann::json& logit = golden["expect"]["logits"][1][3];
    logit = logit.get<double>() + 2e-4;
  }
  SECTION("a sample of the features") {
    nlohmann::json& sample = golden["expect"]["features"]["samples"][7][1];
    sample = sample.get<double>() + 2e-4;
  }
  SECTION("an attention weight") {
    nlohmann::json& weight = golden["expect"]["attention"][2]["map"][4];
    weight = weight.get<double>() + 2e-5;
  }
  SECTION("the seed") { golden["seed"] = 12; }
  CHECK_FALSE(q2l::test::check_golden(golden, 2).ok());
}

TEST_CASE("A golden file of no known kind is refused", "[golden]") {
  CHECK_THROWS_AS(q2l::test::check_golden(nlohmann::json::object(), 1), std::runtime_error);
  CHECK_THROWS_AS(q2l::test::check_golden(nlohmann::json::array(), 1), std::runtime_error);
}
