// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <query2label/backbone/tresnet.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Error;
using q2l::ErrorCode;
using q2l::FeatureMap;
using q2l::TResNet;
using q2l::TResNetShape;
using q2l::WeightMap;
using q2l::simd::DefaultArch;

namespace {

/// Every kind of block, with and without squeeze-and-excitation, halving and not.
constexpr TResNetShape mixed = TResNetShape::sized({1, 2, 1, 2}, 0.2, {true, false, true, false});

/// Tensors as PyTorch's definition names them, filled by the recipe: norm weights of -0.5 .. 1.5,
/// filters scaled to keep the variance.
class TensorWriter {
 public:
  explicit TensorWriter(WeightMap& weights) : weights_(weights) {}

  void conv(const std::string& name, std::size_t in, std::size_t out, std::size_t kernel) {
    const std::size_t fan_in = in * kernel * kernel;
    add(name + ".weight", {out, in, kernel, kernel}, 0.0,
        std::sqrt(3.0 / static_cast<double>(fan_in)));
  }
  void conv_abn(const std::string& name, std::size_t in, std::size_t out, std::size_t kernel) {
    conv(name + ".0", in, out, kernel);
    add(name + ".1.weight", {out}, 0.5, 1.0);
    add(name + ".1.bias", {out}, 0.0, 0.2);
    add(name + ".1.running_mean", {out}, 0.0, 0.2);
    add(name + ".1.running_var", {out}, 1.0, 0.5);
  }
  void squeeze_excite(const std::string& name, std::size_t channels, std::size_t squeezed) {
    conv(name + ".fc1", channels, squeezed, 1);
    add(name + ".fc1.bias", {squeezed}, 0.0, 0.2);
    conv(name + ".fc2", squeezed, channels, 1);
    add(name + ".fc2.bias", {channels}, 0.0, 0.2);
  }

 private:
  void add(const std::string& name, const WeightMap::Shape& shape, double offset, double scale) {
    std::size_t count = 1;
    for (const std::uint64_t extent : shape) count *= static_cast<std::size_t>(extent);
    weights_.add(name, shape, [=] { return fill(name, count, offset, scale, 1); });
  }

  WeightMap& weights_;
};

WeightMap tresnet_weights(const TResNetShape& shape) {
  WeightMap weights;
  TensorWriter writer(weights);
  const std::string root = "backbone.0.body.body.";
  writer.conv_abn(root + "conv1", 48, shape.width, 3);
  std::size_t in = shape.width;
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::size_t mid = shape.width << stage;
    const bool bottleneck = shape.bottleneck[stage];
    const std::size_t out = bottleneck ? 4 * mid : mid;
    for (std::size_t i = 0; i < shape.layers[stage]; ++i) {
      const std::string block =
          root + "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
      const bool halving = stage > 0 && i == 0;
      const std::string pooled = halving ? ".0" : "";
      if (bottleneck) {
        writer.conv_abn(block + "conv1", in, mid, 1);
        writer.conv_abn(block + "conv2" + pooled, mid, mid, 3);
        writer.conv_abn(block + "conv3", mid, out, 1);
      } else {
        writer.conv_abn(block + "conv1" + pooled, in, mid, 3);
        writer.conv_abn(block + "conv2", mid, mid, 3);
      }
      if (stage < 3) writer.squeeze_excite(block + "se", mid, 64);  // 64 is the least
      if (halving) writer.conv_abn(block + "downsample.1", in, out, 1);
      if (!halving && in != out) writer.conv_abn(block + "downsample.0", in, out, 1);
      in = out;
    }
  }
  return weights;
}

template <class T>
TResNet<T, DefaultArch> recipe_net(const TResNetShape& shape) {
  WeightMap weights = tresnet_weights(shape);
  auto net = TResNet<T, DefaultArch>::load(weights, shape);
  weights.finish();
  return net;
}

/// Two pictures of 64 x 96, from the recipe's [N, 3, H, W] to [N, H, W, 3].
template <class T>
std::vector<T> recipe_pictures() {
  constexpr std::size_t plane = 64 * 96;
  const std::vector<float> planar = fill("input", 2 * 3 * plane, 0.5, 0.5, 1);
  std::vector<T> out(planar.size());
  for (std::size_t i = 0; i < planar.size(); ++i) {
    const std::size_t n = i / plane / 3;
    const std::size_t c = i / plane % 3;
    out[(n * plane + i % plane) * 3 + c] = static_cast<T>(planar[i]);
  }
  return out;
}

template <class T>
std::vector<T> features(const TResNet<T, DefaultArch>& net, const std::vector<T>& pictures,
                        std::size_t workers, std::size_t first, std::size_t images) {
  std::vector<T> out(images * 2 * 3 * net.channels());
  run_planned(workers, [&](const Context& context) {
    net.forward(context, {pictures.data() + first * 64 * 96 * 3, images, 64, 96, 3},
                {out.data(), images, 2, 3, net.channels()});
  });
  return out;
}

}  // namespace

TEST_CASE("The named TResNets have the paper's widths", "[backbone]") {
  CHECK(TResNetShape::large() == TResNetShape{});
  CHECK(TResNetShape::large().stage_channels(3) == 2432);
  CHECK(TResNetShape::extra_large().stage_channels(3) == 2656);
  CHECK(TResNetShape::large_v2().stage_channels(3) == 2048);
}

TEST_CASE("A TResNet's shape is read off its tensors", "[backbone]") {
  for (const TResNetShape& shape :
       {mixed, TResNetShape::large(), TResNetShape::extra_large(), TResNetShape::large_v2()}) {
    CHECK(q2l::infer_tresnet_shape(tresnet_weights(shape)) == shape);
  }
}

TEMPLATE_TEST_CASE("A TResNet of every kind of block gives PyTorch's features", "[backbone]", float,
                   double) {
  using T = TestType;
  const auto net = recipe_net<T>(mixed);
  REQUIRE(net.channels() == 96);
  const auto actual = features<T>(net, recipe_pictures<T>(), 1, 0, 2);
  // tools/query2label_torch.py in float64 with the same weights: [2, 2, 3, 96] flattened.
  const std::vector<std::pair<std::size_t, double>> expected{
      {0, 0.17083947849956893},  {388, 0.18298653460526015}, {485, 0.06006292330008036},
      {582, 0.3974229453450581}, {679, 0.16101056428682506}, {1067, 0.09283712979232439},
  };
  // Float's rounding grows by some 20 layers; a wrong wiring is off by far more.
  const double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;
  double sum = 0.0;
  double squares = 0.0;
  for (const T value : actual) {
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  const double mean = sum / static_cast<double>(actual.size());
  const double deviation = std::sqrt(squares / static_cast<double>(actual.size()) - mean * mean);
  CHECK(is_close(mean, 0.1527451608082131, tolerance));
  CHECK(is_close(deviation, 0.1736675476003883, tolerance));
  for (const auto& [index, value] : expected) {
    CAPTURE(index);
    CHECK(is_close(static_cast<double>(actual[index]), value, tolerance));
  }
}

TEST_CASE("A TResNet gives the same bits on any threads and in any batch", "[backbone]") {
  const auto net = recipe_net<float>(mixed);
  const auto pictures = recipe_pictures<float>();
  const auto together = features<float>(net, pictures, 1, 0, 2);
  for (const std::size_t workers : {2u, 3u, 8u}) {
    CHECK(same_bits(features<float>(net, pictures, workers, 0, 2), together));
  }
  auto one_by_one = features<float>(net, pictures, 1, 0, 1);
  const auto second = features<float>(net, pictures, 2, 1, 1);
  one_by_one.insert(one_by_one.end(), second.begin(), second.end());
  CHECK(same_bits(one_by_one, together));
}

TEST_CASE("A TResNet whose shape makes no sense is refused", "[backbone]") {
  WeightMap weights = tresnet_weights(mixed);
  const auto refusal = [&](const TResNetShape& shape) {
    return error_of([&] { TResNet<float, DefaultArch>::load(weights, shape); }).code();
  };
  CHECK(refusal({{1, 2, 0, 2}, 12, mixed.bottleneck}) == ErrorCode::bad_config);
  CHECK(refusal({mixed.layers, 0, mixed.bottleneck}) == ErrorCode::bad_config);
}

TEST_CASE("A TResNet names the tensors that do not fit its shape", "[backbone]") {
  const auto error_with = [](const TResNetShape& shape) {
    WeightMap weights = tresnet_weights(mixed);
    return error_of([&] {
      TResNet<float, DefaultArch>::load(weights, shape);
      weights.finish();
    });
  };
  const Error missing = error_with({{1, 3, 1, 2}, mixed.width, mixed.bottleneck});
  CHECK(missing.code() == ErrorCode::missing_tensor);
  CHECK(missing.place().subject == "backbone.0.body.body.layer2.2.conv1.1.weight");
  const Error unexpected = error_with({{1, 2, 1, 1}, mixed.width, mixed.bottleneck});
  CHECK(unexpected.code() == ErrorCode::unexpected_tensor);
  CHECK(unexpected.place().subject == "backbone.0.body.body.layer4.1.conv1.0.weight");
}

TEST_CASE("A TResNet refuses pictures that do not fit", "[backbone]") {
  const auto net = recipe_net<float>(mixed);
  const auto refusal = [&](FeatureMap<const float> image, FeatureMap<float> out) {
    const Error error = error_of(
        [&] { run_planned([&](const Context& context) { net.forward(context, image, out); }); });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  CHECK(refusal({nullptr, 1, 48, 64, 3}, {nullptr, 1, 1, 2, 96}) == "TResNet");
  CHECK(refusal({nullptr, 1, 64, 48, 3}, {nullptr, 1, 2, 1, 96}) == "TResNet");
  CHECK(refusal({nullptr, 1, 0, 64, 3}, {nullptr, 1, 0, 2, 96}) == "TResNet");
  CHECK(refusal({nullptr, 1, 64, 96, 3}, {nullptr, 2, 2, 3, 96}) == "TResNet: batch of out");
  CHECK(refusal({nullptr, 1, 64, 96, 3}, {nullptr, 1, 3, 3, 96}) == "TResNet: height of out");
  CHECK(refusal({nullptr, 1, 64, 96, 3}, {nullptr, 1, 2, 2, 96}) == "TResNet: width of out");
  CHECK(refusal({nullptr, 1, 64, 96, 3}, {nullptr, 1, 2, 3, 95}) == "TResNet: channels of out");
  CHECK(refusal({nullptr, 1, 64, 96, 4}, {nullptr, 1, 2, 3, 96}) ==
        "space_to_depth: channels of out");
}
