// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/backbone/cvt.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/error_of.hpp"
#include "support/recipe_weights.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::CvtShape;
using q2l::Error;
using q2l::ErrorCode;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::WeightMap;
using Cvt = q2l::Cvt<float, q2l::simd::DefaultArch>;

namespace {

constexpr CvtShape small_cvt{{4, 6, 20}, {1, 3, 4}, {1, 2, 3}};
constexpr std::size_t small_cvt_channels = 20;

WeightMap cvt_weights(const CvtShape& shape) {
  WeightMap weights;
  RecipeWeights writer(weights);
  std::size_t in = 3;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t width = shape.embed_dims[i];
    const std::string stage = "backbone.0.stage" + std::to_string(i) + ".";
    writer.conv2d(stage + "patch_embed.proj", in, width, i == 0 ? 7 : 3);
    writer.layer_norm(stage + "patch_embed.norm", width);
    for (std::size_t b = 0; b < shape.depths[i]; ++b) {
      const std::string block = stage + "blocks." + std::to_string(b) + ".";
      writer.layer_norm(block + "norm1", width);
      for (const std::string which : {"q", "k", "v"}) {
        writer.add(block + "attn.conv_proj_" + which + ".conv.weight", {width, 1, 3, 3}, 0.0, 0.6);
        writer.batch_norm(block + "attn.conv_proj_" + which + ".bn", width);
        writer.linear(block + "attn.proj_" + which, width, width);
      }
      writer.linear(block + "attn.proj", width, width);
      writer.layer_norm(block + "norm2", width);
      writer.linear(block + "mlp.fc1", width, 4 * width);
      writer.linear(block + "mlp.fc2", 4 * width, width);
    }
    in = width;
  }
  writer.add("backbone.0.stage2.cls_token", {1, 1, in}, 0.0, 1.0);
  writer.layer_norm("backbone.0.norm", in);
  return weights;
}

Cvt small_cvt_net() {
  WeightMap weights = cvt_weights(small_cvt);
  Cvt net = Cvt::load(weights, small_cvt);
  weights.finish();
  return net;
}

}  // namespace

TEST_CASE("A CvT's shape is read off its tensors but for heads that are not 64 wide",
          "[backbone]") {
  CHECK(q2l::infer_cvt_shape(cvt_weights(CvtShape{})) == CvtShape{});
  const CvtShape inferred = q2l::infer_cvt_shape(cvt_weights(small_cvt));
  CHECK(inferred == CvtShape{small_cvt.embed_dims, {0, 0, 0}, small_cvt.depths});
  const CvtShape partly{{4, 64, 128}, {1, 4, 2}, {1, 1, 1}};
  CHECK(q2l::infer_cvt_shape(cvt_weights(partly)).heads == std::array<std::size_t, 3>{0, 1, 2});
}

TEST_CASE("A CvT takes the batch counters that checkpoints carry", "[backbone]") {
  WeightMap weights = cvt_weights(small_cvt);
  RecipeWeights(weights).add("backbone.0.stage1.blocks.1.attn.conv_proj_k.bn.num_batches_tracked",
                             {}, 1.0, 0.0);
  Cvt::load(weights, small_cvt);
  CHECK_NOTHROW(weights.finish());
}

TEST_CASE("A CvT gives the same bits on any threads and in any batch, at any resolution",
          "[backbone]") {
  const Cvt net = small_cvt_net();
  REQUIRE(net.channels() == small_cvt_channels);
  for (const auto& [height, width] : {std::pair{96u, 96u}, {16u, 16u}, {48u, 80u}}) {
    CAPTURE(height, width);
    const std::size_t size = std::size_t{height} * width * 3;
    const std::size_t rows = height / 16 * width / 16;
    const std::vector<float> pictures = fill("input", 3 * size, 0.0, 2.0, 1);
    const auto run = [&, height = height, width = width](const Context& context, std::size_t first,
                                                         std::size_t images, Matrix<float> out) {
      net.forward(context, {pictures.data() + first * size, images, height, width, 3},
                  {out.data, images, height / 16, width / 16, small_cvt_channels, out.stride});
    };
    const std::vector<float> all = same_bits_on_any_workers<float>(
        3 * rows, small_cvt_channels,
        [&](const Context& context, Matrix<float> out) { run(context, 0, 3, out); });
    check_same_bits_alone(
        all, 3, rows, small_cvt_channels,
        [&](const Context& context, std::size_t n, Matrix<float> out) { run(context, n, 1, out); });
  }
}

TEST_CASE("A CvT whose shape makes no sense is refused", "[backbone]") {
  const auto check_refusal = [](const CvtShape& shape, const std::string& subject) {
    WeightMap weights = cvt_weights(small_cvt);
    const Error error = error_of([&] { Cvt::load(weights, shape); });
    CHECK(error.code() == ErrorCode::bad_config);
    CHECK(error.place().subject == subject);
  };
  check_refusal({{0, 6, 20}, small_cvt.heads, small_cvt.depths}, "CvT stage 0");
  check_refusal({small_cvt.embed_dims, {1, 4, 4}, small_cvt.depths}, "CvT stage 1");
  check_refusal({small_cvt.embed_dims, {1, 3, 0}, small_cvt.depths}, "CvT stage 2");
  check_refusal({small_cvt.embed_dims, small_cvt.heads, {1, 0, 3}}, "CvT stage 1");
}

TEST_CASE("A CvT names the tensors that do not fit its shape", "[backbone]") {
  const auto check_error = [](const CvtShape& shape, ErrorCode code, const std::string& subject) {
    WeightMap weights = cvt_weights(small_cvt);
    const Error error = error_of([&] {
      Cvt::load(weights, shape);
      weights.finish();
    });
    CHECK(error.code() == code);
    CHECK(error.place().subject == subject);
  };
  check_error({small_cvt.embed_dims, small_cvt.heads, {1, 3, 3}}, ErrorCode::missing_tensor,
              "backbone.0.stage1.blocks.2.norm1.weight");
  check_error({small_cvt.embed_dims, small_cvt.heads, {1, 2, 2}}, ErrorCode::unexpected_tensor,
              "backbone.0.stage2.blocks.2.attn.conv_proj_k.bn.bias");
  check_error({{4, 6, 24}, small_cvt.heads, small_cvt.depths}, ErrorCode::shape_mismatch,
              "backbone.0.stage2.patch_embed.proj.weight");
}

TEST_CASE("A CvT refuses pictures that do not fit", "[backbone]") {
  const Cvt net = small_cvt_net();
  const auto call = [&](const FeatureMap<const float>& image, const FeatureMap<float>& out) {
    return [=, &net](const Context& context) { net.forward(context, image, out); };
  };
  const FeatureMap<const float> image(nullptr, 1, 32, 48, 3);
  check_bad_argument("Cvt", call({nullptr, 1, 24, 32, 3}, {nullptr, 1, 1, 2, 20}));
  check_bad_argument("Cvt", call({nullptr, 1, 32, 24, 3}, {nullptr, 1, 2, 1, 20}));
  check_bad_argument("Cvt", call({nullptr, 1, 32, 0, 3}, {nullptr, 1, 2, 0, 20}));
  check_bad_argument("Cvt: batch of out", call(image, {nullptr, 2, 2, 3, 20}));
  check_bad_argument("Cvt: height of out", call(image, {nullptr, 1, 3, 3, 20}));
  check_bad_argument("Cvt: width of out", call(image, {nullptr, 1, 2, 2, 20}));
  check_bad_argument("Cvt: channels of out", call(image, {nullptr, 1, 2, 3, 21}));
  check_bad_argument("conv2d: channels of in",
                     call({nullptr, 1, 32, 48, 4}, {nullptr, 1, 2, 3, 20}));
}
