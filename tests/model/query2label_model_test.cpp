// SPDX-License-Identifier: MIT
#include "query2label/model/query2label_model.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "query2label/core/counter_random.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/session.hpp"
#include "support/error_of.hpp"

namespace {

using q2l::ErrorCode;
using Model = q2l::Query2Label<float>;

const std::string data = std::string(Q2L_TESTS_DIR) + "/weights/data/";

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

Model load_model(const std::string& path) {
  q2l::ModelFile file = q2l::open_model_file(path);
  return Model::load(file.weights, file.config);
}

/// Pictures [N, H, W, 3] from the recipe's "input" [N, 3, H, W].
std::vector<float> pictures(std::size_t batch, std::size_t height, std::size_t width,
                            std::uint64_t seed) {
  const std::size_t plane = height * width;
  const std::vector<float> nchw = q2l::counter_random("input", batch * 3 * plane, 0, 2, seed);
  std::vector<float> nhwc(nchw.size());
  for (std::size_t i = 0; i < nchw.size(); ++i) {
    nhwc[(i / plane / 3 * plane + i % plane) * 3 + i / plane % 3] = nchw[i];
  }
  return nhwc;
}

std::vector<float> logits_of(const Model& model, const std::vector<float>& pixels,
                             std::size_t batch, std::size_t height, std::size_t width,
                             std::size_t workers, std::vector<float>* maps = nullptr) {
  q2l::ThreadPool pool(workers);
  q2l::Session session(model, pool, workers);
  q2l::QueryOptions options;
  options.attention_maps = maps != nullptr;
  auto result = session.query(session.encode({pixels.data(), batch, height, width, 3}), options);
  if (maps) *maps = std::move(result.maps);
  return result.logits;
}

constexpr std::array families{"resnet_basic", "resnet_bottleneck", "tresnet", "tresnet_v2", "swin",
                              "cvt"};

}  // namespace

TEST_CASE("A checkpoint that PyTorch wrote loads directly and scores as PyTorch does", "[model]") {
  const std::string name =
      GENERATE("resnet_basic.pkl", "resnet_basic_legacy.pth", "resnet_basic_views.pth",
               "resnet_basic_half.pth", "resnet_basic_bfloat16.pth", "resnet_bottleneck.pkl",
               "tresnet.pkl", "tresnet_v2.pkl", "swin.pkl", "cvt.pkl");
  CAPTURE(name);
  const std::string stem = data + name.substr(0, name.find('.'));
  const nlohmann::json expected = read_json(stem + ".expect.json");
  const auto shape = expected["input"]["shape"].get<std::vector<std::size_t>>();
  const auto pixels =
      pictures(shape[0], shape[2], shape[3], expected["input"]["seed"].get<std::uint64_t>());
  const Model model = load_model(data + name);
  const auto logits = logits_of(model, pixels, shape[0], shape[2], shape[3], 2);
  REQUIRE(expected["logits"].size() == shape[0]);
  for (std::size_t n = 0; n < shape[0]; ++n) {
    for (std::size_t k = 0; k < model.labels(); ++k) {
      const double truth = expected["logits"][n][k].get<double>();
      const double logit = static_cast<double>(logits[n * model.labels() + k]);
      CAPTURE(n, k, truth, logit);
      CHECK(std::abs(1 / (1 + std::exp(-logit)) - 1 / (1 + std::exp(-truth))) <= 1e-5);
    }
  }
}

TEST_CASE("Logits and maps have the same bits for any number of threads and batch position",
          "[model]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const Model model = load_model(data + family + ".pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(4, side, side, 77);
  std::vector<float> maps;
  const std::vector<float> logits = logits_of(model, pixels, 4, side, side, 1, &maps);
  for (const std::size_t workers : {2u, 3u, 8u}) {
    CAPTURE(workers);
    std::vector<float> other_maps;
    CHECK(logits_of(model, pixels, 4, side, side, workers, &other_maps) == logits);
    CHECK(other_maps == maps);
  }
  const std::size_t size = side * side * 3;
  const std::size_t labels = model.labels();
  for (std::size_t n = 0; n < 4; ++n) {
    CAPTURE(n);
    const std::vector<float> one(pixels.data() + n * size, pixels.data() + (n + 1) * size);
    CHECK(logits_of(model, one, 1, side, side, 2) ==
          std::vector<float>(logits.data() + n * labels, logits.data() + (n + 1) * labels));
  }
}

TEST_CASE("A subset of labels gets the bits and maps it has among all", "[model]") {
  const Model model = load_model(data + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(2, side, side, 5);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  const auto memory = session.encode({pixels.data(), 2, side, side, 3});
  const auto all = session.query(memory, {{}, true});
  const std::vector<std::size_t> labels{model.labels() - 1, 0};
  const auto some = session.query(memory, {labels, true});
  REQUIRE(some.logits.size() == 2 * labels.size());
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t i = 0; i < labels.size(); ++i) {
      CHECK(some.image_logits(n)[i] == all.image_logits(n)[labels[i]]);
      for (std::size_t layer = 0; layer < all.layers; ++layer) {
        CHECK(some.mean_map(n, layer, i) == all.mean_map(n, layer, labels[i]));
      }
    }
  }
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(session.query(memory, {{model.labels()}, false}));
        }).code() == ErrorCode::bad_argument);
}

TEST_CASE("Attention maps are distributions over the grid", "[model]") {
  const Model model = load_model(data + "cvt.pkl");
  const std::size_t side = model.config().image_size;
  std::vector<float> maps;
  logits_of(model, pictures(1, side, side, 9), 1, side, side, 1, &maps);
  const std::size_t tokens = side / model.stride() * (side / model.stride());
  REQUIRE(maps.size() % tokens == 0);
  for (std::size_t row = 0; row < maps.size(); row += tokens) {
    double sum = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      REQUIRE(maps[row + t] >= 0);
      sum += static_cast<double>(maps[row + t]);
    }
    CHECK(sum == Approx(1).margin(1e-5));
  }
}

TEST_CASE("Other resolutions work where the stride divides them, and are refused elsewhere",
          "[model]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const Model model = load_model(data + family + ".pkl");
  const std::size_t height = 3 * 32, width = 4 * 32;
  const std::vector<float> pixels = pictures(1, height, width, 3);
  for (const float logit : logits_of(model, pixels, 1, height, width, 2)) {
    CHECK(std::isfinite(logit));
  }
  const std::vector<float> odd = pictures(1, 40, 40, 3);
  CHECK(q2l::test::error_of([&] { logits_of(model, odd, 1, 40, 40, 1); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("A model of one family alone answers as the one for any", "[model]") {
  q2l::ModelFile file = q2l::open_model_file(data + "resnet_basic.pkl");
  using Arch = q2l::simd::DefaultArch;
  const auto single = q2l::Query2Label<float, Arch, q2l::ResNet>::load(file.weights, file.config);
  const Model any = load_model(data + "resnet_basic.pkl");
  const std::size_t side = any.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(single, runner, 1);
  CHECK(session.query(session.encode({pixels.data(), 1, side, side, 3})).logits ==
        logits_of(any, pixels, 1, side, side, 1));

  q2l::ModelFile other = q2l::open_model_file(data + "swin.pkl");
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(
              q2l::Query2Label<float, Arch, q2l::ResNet>::load(other.weights, other.config));
        }).code() == ErrorCode::bad_config);
}

TEST_CASE("After the first call of a size a session allocates no more scratch", "[model]") {
  const Model model = load_model(data + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(2, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  static_cast<void>(session.query(session.encode({pixels.data(), 2, side, side, 3})));
  const std::size_t bytes = session.workspace_bytes();
  CHECK(bytes > 0);
  static_cast<void>(session.query(session.encode({pixels.data(), 1, side, side, 3})));
  static_cast<void>(session.query(session.encode({pixels.data(), 2, side, side, 3})));
  CHECK(session.workspace_bytes() == bytes);
}
