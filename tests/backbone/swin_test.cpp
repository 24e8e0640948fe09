// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/backbone/swin.hpp>
#include <string>
#include <vector>

#include "support/error_of.hpp"
#include "support/recipe_weights.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Error;
using q2l::ErrorCode;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::SwinShape;
using q2l::WeightMap;
using Swin = q2l::Swin<float, q2l::simd::DefaultArch>;

namespace {

/// Stages of one and several blocks; the last was trained on a grid smaller than a window.
constexpr SwinShape small_swin{4, {2, 3, 1, 2}, {1, 2, 2, 4}, {4, 4, 4, 2}};
constexpr std::size_t small_swin_channels = 32;

WeightMap swin_weights(const SwinShape& shape) {
  WeightMap weights;
  RecipeWeights writer(weights);
  const std::string root = "backbone.0.";
  writer.conv2d(root + "patch_embed.proj", 3, shape.embed_dim, 4);
  writer.layer_norm(root + "patch_embed.norm", shape.embed_dim);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::size_t width = shape.width(stage);
    const std::string layer = root + "layers." + std::to_string(stage) + ".";
    for (std::size_t i = 0; i < shape.depths[stage]; ++i) {
      const std::string block = layer + "blocks." + std::to_string(i) + ".";
      const std::size_t side = 2 * shape.windows[stage] - 1;
      writer.layer_norm(block + "norm1", width);
      writer.add(block + "attn.relative_position_bias_table", {side * side, shape.heads[stage]},
                 0.0, 1.0);
      writer.linear(block + "attn.qkv", width, 3 * width);
      writer.linear(block + "attn.proj", width, width);
      writer.layer_norm(block + "norm2", width);
      writer.linear(block + "mlp.fc1", width, 4 * width);
      writer.linear(block + "mlp.fc2", 4 * width, width);
    }
    if (stage == 3) break;
    writer.layer_norm(layer + "downsample.norm", 4 * width);
    writer.linear(layer + "downsample.reduction", 4 * width, 2 * width, false);
  }
  writer.layer_norm(root + "norm", shape.width(3));
  return weights;
}

Swin small_swin_net() {
  WeightMap weights = swin_weights(small_swin);
  Swin net = Swin::load(weights, small_swin);
  weights.finish();
  return net;
}

}  // namespace

TEST_CASE("The named Swins have the paper's widths and heads of 32 channels", "[backbone]") {
  CHECK(SwinShape::base(7).width(3) == 1024);
  CHECK(SwinShape::large(12).width(3) == 1536);
  for (const SwinShape& shape : {SwinShape::base(12), SwinShape::large(7)}) {
    for (std::size_t i = 0; i < 4; ++i) CHECK(shape.width(i) == 32 * shape.heads[i]);
  }
}

TEST_CASE("A Swin's shape is read off its tensors", "[backbone]") {
  for (const SwinShape& shape : {small_swin, SwinShape::base(7), SwinShape::base(12),
                                 SwinShape::large(7), SwinShape::large(12)}) {
    CHECK(q2l::infer_swin_shape(swin_weights(shape)) == shape);
  }
}

TEST_CASE("A Swin takes the tables that checkpoints carry and it can compute", "[backbone]") {
  WeightMap weights = swin_weights(small_swin);
  RecipeWeights writer(weights);
  const std::string block = "backbone.0.layers.0.blocks.1.";
  writer.add(block + "attn_mask", {16, 16, 16}, 0.0, 1.0);
  writer.add(block + "attn.relative_position_index", {16, 16}, 0.0, 1.0);
  Swin::load(weights, small_swin);
  CHECK_NOTHROW(weights.finish());
}

TEST_CASE("A Swin gives the same bits on any threads and in any batch, at any resolution",
          "[backbone]") {
  const Swin net = small_swin_net();
  REQUIRE(net.channels() == small_swin_channels);
  // Grids of whole windows, padded ones, and ones smaller than a window; square and not.
  for (const auto& [height, width] : {std::pair{128u, 128u}, {32u, 32u}, {96u, 160u}}) {
    CAPTURE(height, width);
    const std::size_t size = std::size_t{height} * width * 3;
    const std::size_t rows = height / 32 * width / 32;
    const std::vector<float> pictures = fill("input", 2 * size, 0.0, 2.0, 1);
    const auto run = [&, height = height, width = width](const Context& context, std::size_t first,
                                                         std::size_t images, Matrix<float> out) {
      net.forward(context, {pictures.data() + first * size, images, height, width, 3},
                  {out.data, images, height / 32, width / 32, small_swin_channels, out.stride});
    };
    const std::vector<float> all = same_bits_on_any_workers<float>(
        2 * rows, small_swin_channels,
        [&](const Context& context, Matrix<float> out) { run(context, 0, 2, out); });
    check_same_bits_alone(
        all, 2, rows, small_swin_channels,
        [&](const Context& context, std::size_t n, Matrix<float> out) { run(context, n, 1, out); });
  }
}

TEST_CASE("A Swin whose shape makes no sense is refused", "[backbone]") {
  const auto check_refusal = [](const SwinShape& shape, const std::string& subject) {
    WeightMap weights = swin_weights(small_swin);
    const Error error = error_of([&] { Swin::load(weights, shape); });
    CHECK(error.code() == ErrorCode::bad_config);
    CHECK(error.place().subject == subject);
  };
  check_refusal({0, small_swin.depths, small_swin.heads, small_swin.windows}, "Swin stage 0");
  check_refusal({4, {2, 0, 1, 2}, small_swin.heads, small_swin.windows}, "Swin stage 1");
  check_refusal({4, small_swin.depths, {1, 2, 3, 4}, small_swin.windows}, "Swin stage 2");
  check_refusal({4, small_swin.depths, {1, 2, 2, 0}, small_swin.windows}, "Swin stage 3");
  check_refusal({4, small_swin.depths, small_swin.heads, {4, 4, 0, 2}}, "Swin stage 2");
  check_refusal({4, small_swin.depths, small_swin.heads, {4, 4, 4, 33}}, "Swin stage 3");
}

TEST_CASE("A Swin names the tensors that do not fit its shape", "[backbone]") {
  const auto check_error = [](const SwinShape& shape, ErrorCode code, const std::string& subject) {
    WeightMap weights = swin_weights(small_swin);
    const Error error = error_of([&] {
      Swin::load(weights, shape);
      weights.finish();
    });
    CHECK(error.code() == code);
    CHECK(error.place().subject == subject);
  };
  check_error({4, {2, 4, 1, 2}, small_swin.heads, small_swin.windows}, ErrorCode::missing_tensor,
              "backbone.0.layers.1.blocks.3.attn.relative_position_bias_table");
  check_error({4, {2, 3, 1, 1}, small_swin.heads, small_swin.windows}, ErrorCode::unexpected_tensor,
              "backbone.0.layers.3.blocks.1.attn.proj.bias");
  check_error({4, small_swin.depths, small_swin.heads, {4, 4, 4, 4}}, ErrorCode::shape_mismatch,
              "backbone.0.layers.3.blocks.0.attn.relative_position_bias_table");
}

TEST_CASE("A Swin refuses pictures that do not fit", "[backbone]") {
  const Swin net = small_swin_net();
  const auto call = [&](const FeatureMap<const float>& image, const FeatureMap<float>& out) {
    return [=, &net](const Context& context) { net.forward(context, image, out); };
  };
  const FeatureMap<const float> image(nullptr, 1, 64, 96, 3);
  check_bad_argument("Swin", call({nullptr, 1, 48, 64, 3}, {nullptr, 1, 1, 2, 32}));
  check_bad_argument("Swin", call({nullptr, 1, 64, 48, 3}, {nullptr, 1, 2, 1, 32}));
  check_bad_argument("Swin", call({nullptr, 1, 0, 64, 3}, {nullptr, 1, 0, 2, 32}));
  check_bad_argument("Swin: batch of out", call(image, {nullptr, 2, 2, 3, 32}));
  check_bad_argument("Swin: height of out", call(image, {nullptr, 1, 3, 3, 32}));
  check_bad_argument("Swin: width of out", call(image, {nullptr, 1, 2, 2, 32}));
  check_bad_argument("Swin: channels of out", call(image, {nullptr, 1, 2, 3, 31}));
  check_bad_argument("conv2d: channels of in",
                     call({nullptr, 1, 64, 96, 4}, {nullptr, 1, 2, 3, 32}));
}
