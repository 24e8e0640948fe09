// SPDX-License-Identifier: MIT
#include "q2l/multiply_adds.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "../../benchmarks/ops/shape_file.hpp"
#include "query2label/model/backbone_names.hpp"

using q2l::command::count_multiply_adds;
using q2l::command::MultiplyAdds;

namespace {

/// The sums of a file of benchmarks/shapes, which was made by running the PyTorch definition.
MultiplyAdds sum_of_file(const std::string& name) {
  MultiplyAdds sum;
  for (const q2l::benchmarks::LayerShape& layer :
       q2l::benchmarks::read_shape_file(Q2L_TESTS_DIR "/../benchmarks/shapes/" + name + ".txt")) {
    const std::uint64_t count = layer.count * layer.multiply_adds();
    (layer.stage == "backbone"  ? sum.backbone
     : layer.stage == "encoder" ? sum.encoder
                                : sum.decoder) += count;
  }
  return sum;
}

q2l::ModelConfig backbone_config(const std::string& backbone, std::size_t side, std::size_t width) {
  q2l::ModelConfig config;
  for (const q2l::NamedBackbone& named : q2l::named_backbones)
    if (named.name == backbone) config.backbone = named.shape;
  config.image_size = side;
  config.transformer.width = width;
  config.transformer.feed_forward = 8192;
  config.transformer.labels = 80;
  return config;
}

}  // namespace

TEST_CASE("Multiply-adds are those counted by running the models' definition", "[command]") {
  struct Model {
    const char *file, *backbone;
    std::size_t side, width;
  };
  const Model model = GENERATE(
      Model{"r101_448", "resnet101", 448, 2048}, Model{"tresnetl_448", "tresnetl", 448, 2432},
      Model{"tresnetl_v2_448", "tresnetl_v2", 448, 2048},
      Model{"swinL_384", "swin_L_384_22k", 384, 1536}, Model{"cvtw24_384", "CvT_w24", 384, 1024});
  CAPTURE(model.file);
  const MultiplyAdds expected = sum_of_file(model.file);
  const MultiplyAdds count =
      count_multiply_adds(backbone_config(model.backbone, model.side, model.width), model.width);
  CHECK(count.backbone == expected.backbone);
  CHECK(count.encoder == expected.encoder);
  CHECK(count.decoder == expected.decoder);
}

TEST_CASE("An input projection and decoder self-attention add their multiply-adds", "[command]") {
  q2l::ModelConfig config = backbone_config("resnet18", 64, 8);  // 2 x 2 tokens of 512 channels
  config.transformer.feed_forward = 16;
  config.transformer.labels = 3;
  const MultiplyAdds plain = count_multiply_adds(config, 512);
  config.input_projection = true;
  config.transformer.keep_first_self_attention = true;
  const MultiplyAdds count = count_multiply_adds(config, 512);
  CHECK(count.backbone == plain.backbone);
  CHECK(count.encoder - plain.encoder == 4 * 512 * 8);
  // four projections of 3 labels, and two products of 3 x 3 x 8
  CHECK(count.decoder - plain.decoder == 4 * 3 * 8 * 8 + 2 * 3 * 3 * 8);
}
