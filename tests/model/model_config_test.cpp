// SPDX-License-Identifier: MIT
#include "query2label/model/model_config.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/error_of.hpp"

namespace {

using q2l::ErrorCode;
using q2l::ModelConfig;
using q2l::WeightMap;
using q2l::test::error_of;

void add(WeightMap& weights, const std::string& name, const WeightMap::Shape& shape) {
  weights.add(name, shape, [] { return std::vector<float>(); });
}

/// The tensors that a configuration is read off, of a small ResNet model: width 16, 5 labels.
WeightMap small_model() {
  WeightMap weights;
  add(weights, "query_embed.weight", {5, 16});
  add(weights, "transformer.decoder.layers.0.linear1.weight", {24, 16});
  add(weights, "transformer.decoder.layers.1.linear1.weight", {24, 16});
  add(weights, "transformer.encoder.layers.0.linear1.weight", {24, 16});
  add(weights, "input_proj.weight", {16, 64, 1, 1});
  add(weights, "backbone.1.pe", {1, 16, 3, 3});
  add(weights, "backbone.0.body.conv1.weight", {8, 3, 7, 7});
  for (const char* stage : {"1", "2", "3", "4"}) {
    add(weights, "backbone.0.body.layer" + std::string(stage) + ".0.conv1.weight", {8, 8, 3, 3});
  }
  return weights;
}

ModelConfig config_of(const char* json) {
  const WeightMap weights = small_model();
  return q2l::make_model_config(nlohmann::json::parse(json), weights);
}

}  // namespace

TEST_CASE("Without a configuration the tensors tell all they can", "[model]") {
  const ModelConfig config = config_of("{}");
  CHECK(config.transformer.labels == 5);
  CHECK(config.transformer.width == 16);
  CHECK(config.transformer.feed_forward == 24);
  CHECK(config.transformer.encoder_layers == 1);
  CHECK(config.transformer.decoder_layers == 2);
  CHECK(config.transformer.heads == 4);
  CHECK_FALSE(config.transformer.pre_norm);
  CHECK_FALSE(config.transformer.keep_first_self_attention);
  CHECK(config.input_projection);
  CHECK(config.image_size == 96);
  CHECK(config.normalization == q2l::PixelNormalization::imagenet());
  CHECK(config.backbone_name == "ResNet");
  CHECK(std::get<q2l::ResNetShape>(config.backbone) == q2l::ResNetShape{false, {1, 1, 1, 1}, 8});
}

TEST_CASE("The configuration adds what the tensors cannot show", "[model]") {
  const ModelConfig config = config_of(
      R"({"nheads": 2, "img_size": 160, "orid_norm": true, "backbone": "resnet18",
          "backbone_arch": {"type": "resnet"}, "std": [0.5, 0.5, 0.25]})");
  CHECK(config.transformer.heads == 2);
  CHECK(config.image_size == 160);
  CHECK(config.backbone_name == "resnet18");
  CHECK(config.normalization.mean == std::array<float, 3>{0, 0, 0});
  CHECK(config.normalization.std == std::array<float, 3>{0.5f, 0.5f, 0.25f});
}

TEST_CASE("TResNet sees pixels from 0 to 1, unless the configuration says otherwise", "[model]") {
  WeightMap weights;
  add(weights, "query_embed.weight", {5, 16});
  add(weights, "transformer.decoder.layers.0.linear1.weight", {24, 16});
  add(weights, "backbone.0.body.body.conv1.0.weight", {8, 48, 3, 3});
  for (const char* stage : {"1", "2", "3", "4"}) {
    const std::string block = "backbone.0.body.body.layer" + std::string(stage) + ".0.";
    add(weights, block + "conv1.0.weight", {8, 8, 3, 3});
    add(weights, block + "conv2.0.weight", {8, 8, 3, 3});
  }
  const auto normalization = [&](const char* json) {
    return q2l::make_model_config(nlohmann::json::parse(json), weights).normalization;
  };
  CHECK(normalization("{}") == q2l::PixelNormalization::unit());
  CHECK(normalization(R"({"orid_norm": true})") == q2l::PixelNormalization::unit());
  CHECK(normalization(R"({"orid_norm": false})") == q2l::PixelNormalization::imagenet());
}

TEST_CASE("Without an encoder the configuration tells the order of the norms", "[model]") {
  WeightMap weights = small_model();
  WeightMap headless;
  for (const std::string& name : weights.names()) {
    if (!name.starts_with("transformer.encoder")) add(headless, name, weights.shape(name));
  }
  const auto pre_norm = [&](const char* json) {
    return q2l::make_model_config(nlohmann::json::parse(json), headless).transformer.pre_norm;
  };
  CHECK_FALSE(pre_norm("{}"));
  CHECK(pre_norm(R"({"pre_norm": true})"));
  add(headless, "transformer.encoder.norm.weight", {16});  // as the reference has it
  CHECK(pre_norm("{}"));
  CHECK(pre_norm(R"({"pre_norm": true})"));
  CHECK(error_of([&] { pre_norm(R"({"pre_norm": false})"); }).place().expected ==
        "true, as the weights have it");
}

TEST_CASE("What neither weights nor configuration tell is named", "[model]") {
  using Assumed = std::vector<std::pair<std::string, std::string>>;
  CHECK(config_of("{}").assumed == Assumed{{"nheads", "4"}, {"orid_norm", "false"}});
  CHECK(config_of(R"({"nheads": 4, "std": [1, 1, 1]})").assumed == Assumed{{"orid_norm", "false"}});
  CHECK(config_of(R"({"nheads": 4, "orid_norm": false})").assumed.empty());
  CHECK(config_of(R"({"nheads": 4, "mean": [0, 0, 0], "std": [1, 1, 1]})").assumed.empty());
  WeightMap weights;
  add(weights, "query_embed.weight", {5, 16});
  add(weights, "transformer.decoder.layers.0.linear1.weight", {24, 16});
  add(weights, "backbone.0.body.conv1.weight", {8, 3, 7, 7});
  for (const char* stage : {"1", "2", "3", "4"}) {
    add(weights, "backbone.0.body.layer" + std::string(stage) + ".0.conv1.weight", {8, 8, 3, 3});
  }
  CHECK(
      q2l::make_model_config(nlohmann::json::object(), weights).assumed ==
      Assumed{{"pre_norm", "false"}, {"nheads", "4"}, {"img_size", "448"}, {"orid_norm", "false"}});
}

TEST_CASE("A named backbone means exactly its published shape", "[model]") {
  const ModelConfig config = config_of(R"({"backbone": "resnet18"})");
  CHECK(std::get<q2l::ResNetShape>(config.backbone) == q2l::ResNetShape{false, {2, 2, 2, 2}, 64});
}

TEST_CASE("A configuration that does not fit is refused, naming the key", "[model]") {
  struct Row {
    const char* json;
    const char* key;
  };
  const Row row = GENERATE(
      Row{R"({"num_class": 80})", "num_class"}, Row{R"({"num_class": -1})", "num_class"},
      Row{R"({"num_class": 0})", "num_class"}, Row{R"({"num_class": 80.5})", "num_class"},
      Row{R"({"num_class": "80"})", "num_class"}, Row{R"({"num_class": 1e30})", "num_class"},
      Row{R"({"hidden_dim": 32})", "hidden_dim"},
      Row{R"({"dim_feedforward": 25})", "dim_feedforward"},
      Row{R"({"enc_layers": 1000000})", "enc_layers"}, Row{R"({"dec_layers": 3})", "dec_layers"},
      Row{R"({"nheads": 0})", "nheads"}, Row{R"({"nheads": 3})", "nheads"},
      Row{R"({"nheads": 17})", "nheads"}, Row{R"({"img_size": 0})", "img_size"},
      Row{R"({"img_size": 1})", "img_size"}, Row{R"({"img_size": 447})", "img_size"},
      Row{R"({"img_size": 2080})", "img_size"}, Row{R"({"img_size": [448, 0]})", "img_size"},
      Row{R"({"pre_norm": true})", "pre_norm"}, Row{R"({"pre_norm": 1})", "pre_norm"},
      Row{R"({"keep_input_proj": false})", "keep_input_proj"},
      Row{R"({"keep_first_self_attn_dec": true})", "keep_first_self_attn_dec"},
      Row{R"({"keep_other_self_attn_dec": true})", "keep_other_self_attn_dec"},
      Row{R"({"position_embedding": "learned"})", "position_embedding"},
      Row{R"({"mean": [0, 0]})", "mean"}, Row{R"({"std": [1, 0, 1]})", "std"},
      Row{R"({"mean": [0, 1e300, 0]})", "mean"}, Row{R"({"std": [1, 1, 1e39]})", "std"},
      Row{R"({"std": "x"})", "std"}, Row{R"({"backbone": "vgg16"})", "backbone"},
      Row{R"({"backbone": "swin_L_384_22k"})", "backbone"},
      Row{R"({"backbone_arch": {"type": "swin"}})", "backbone_arch.type"},
      Row{R"({"backbone_arch": {"type": "resnet", "width": 32}})", "backbone_arch.width"},
      Row{R"({"backbone_arch": {"layers": [3, 4, 6, 3]}})", "backbone_arch.layers"},
      Row{R"({"backbone_arch": {"block": "bottleneck"}})", "backbone_arch.block"});
  CAPTURE(row.json);
  const q2l::Error error = error_of([&] { config_of(row.json); });
  CHECK(error.code() == ErrorCode::bad_config);
  CHECK(error.place().subject == row.key);
}

TEST_CASE("A key that is nearly one that is read is told, others are not", "[model][J12]") {
  const auto misspelt = [](const char* json) {
    std::string keys;
    for (const q2l::MisspeltKey& k : config_of(json).misspelt_keys)
      keys += k.key + ">" + k.nearest + " ";
    return keys;
  };
  CHECK(misspelt(R"({"nhead": 2})") == "nhead>nheads ");
  CHECK(misspelt(R"({"num_clas": 5, "Mean": [0, 0, 0], "image_size": 96, "img-size": 96})") ==
        "Mean>mean image_size>img_size img-size>img_size num_clas>num_class ");
  CHECK(misspelt(R"({"keep_first_selfattn_de": true})") ==
        "keep_first_selfattn_de>keep_first_self_attn_dec ");
  // no configuration that somebody wrote
  std::string many = R"({"nhead": 2)";
  for (int i = 0; i < 1000; ++i) many += ",\"" + std::to_string(i) + "\": 0";
  CHECK(misspelt((many + "}").c_str()).empty());
  // a key that is there is not meant by another one
  CHECK(misspelt(R"({"nheads": 4, "nhead": 2})").empty());
  // what the reference's configurations say beside
  CHECK(misspelt(R"({"lr": 1e-4, "seed": 1, "std_": 1, "amp": true, "resume": "", "eps": 1e-5,
                     "gamma_pos": 0, "dropout": 0.1, "optim": "AdamW", "batch_size": 16})") ==
        "std_>std ");
}

TEST_CASE("The description of a backbone is an object", "[model]") {
  CHECK(error_of([] { config_of(R"({"backbone_arch": [1, 2]})"); }).code() ==
        ErrorCode::bad_config);
  CHECK(error_of([] { config_of(R"({"backbone_arch": "deep"})"); }).code() ==
        ErrorCode::bad_config);
}

TEST_CASE("A position code of another shape is refused", "[model][hostile]") {
  using Shape = WeightMap::Shape;
  for (const Shape& shape :
       {Shape{}, Shape{1, 16, 3}, Shape{2, 16, 3, 3}, Shape{1, 8, 3, 3}, Shape{1, 16, 3, 4},
        Shape{1, 16, 0, 0}, Shape{1, 16, 65, 65}, Shape{1, 0, 1ull << 33, 1ull << 33}}) {
    WeightMap weights;
    const WeightMap usual = small_model();
    for (const std::string& name : usual.names()) {
      add(weights, name, name == "backbone.1.pe" ? shape : usual.shape(name));
    }
    const q2l::Error error =
        error_of([&] { q2l::make_model_config(nlohmann::json::object(), weights); });
    CHECK(error.code() == ErrorCode::shape_mismatch);
    CHECK(error.place().subject == "backbone.1.pe");
  }
  const q2l::ModelConfig larger = q2l::make_model_config(
      nlohmann::json::parse(R"({"img_size": 4096})"), small_model(), {.model_side = 4096});
  CHECK(larger.image_size == 4096);
}

TEST_CASE("What is no Query2Label model is refused", "[model]") {
  WeightMap none;
  CHECK(error_of([&] { q2l::make_model_config(nlohmann::json::object(), none); }).code() ==
        ErrorCode::missing_tensor);
  CHECK(error_of([&] { q2l::make_model_config(nlohmann::json::array(), none); }).code() ==
        ErrorCode::bad_config);
}

TEST_CASE("A backbone of no known family is refused, saying which were tried", "[model]") {
  WeightMap weights;
  add(weights, "query_embed.weight", {5, 16});
  add(weights, "transformer.decoder.layers.0.linear1.weight", {24, 16});
  add(weights, "backbone.0.convnext.weight", {1});
  const q2l::Error error =
      error_of([&] { q2l::make_model_config(nlohmann::json::object(), weights); });
  CHECK(error.code() == ErrorCode::missing_tensor);
  for (const char* family : {"ResNet", "TResNet", "Swin", "CvT"}) {
    CHECK(error.detail().find(family) != std::string::npos);
  }
}

TEST_CASE("CvT's heads come from the configuration", "[model]") {
  WeightMap weights;
  add(weights, "query_embed.weight", {5, 16});
  add(weights, "transformer.decoder.layers.0.linear1.weight", {24, 16});
  for (const char* stage : {"0", "1", "2"}) {
    const std::string prefix = "backbone.0.stage" + std::string(stage) + ".";
    add(weights, prefix + "patch_embed.proj.weight", {16, 3, 7, 7});
    add(weights, prefix + "blocks.0.norm1.weight", {16});
  }
  const auto make = [&](const char* json) {
    return q2l::make_model_config(nlohmann::json::parse(json), weights);
  };
  const ModelConfig config =
      make(R"({"backbone": "CvT_w24", "backbone_arch": {"num_heads": [1, 2, 4]}})");
  CHECK(std::get<q2l::CvtShape>(config.backbone).heads == std::array<std::size_t, 3>{1, 2, 4});
  CHECK(config.image_size == 448);
  CHECK(
      error_of([&] { make(R"({"backbone": "CvT_w24", "backbone_arch": {"num_heads": [1, 2]}})"); })
          .place()
          .subject == "backbone_arch.num_heads");
}
