// SPDX-License-Identifier: MIT
#include "cuda/golden_attention.hpp"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <query2label/transformer/decoder.hpp>
#include <query2label/transformer/position_encoding.hpp>
#include <stdexcept>
#include <vector>

#include "golden/check_golden.hpp"
#include "golden/model_golden.hpp"

namespace q2l::test {
namespace {

using Arch = simd::DefaultArch;
using Layer = DecoderLayer<float, Arch>;
using ops::CrossAttentionForm;

/// A matrix that owns its elements; zeros at first.
struct Rows {
  std::size_t columns;
  std::vector<float> values;

  Rows(std::size_t rows, std::size_t columns_) : columns(columns_), values(rows * columns_) {}
  [[nodiscard]] Matrix<float> view() { return {values.data(), values.size() / columns, columns}; }
};

/// Runs `op(context)` with the scratch that it plans.
template <class Op>
void run(Op&& op) {
  SerialRunner runner;
  Workspace plan = Workspace::planning();
  op(Context{runner, 1, plan});
  Workspace workspace(plan.peak());
  op(Context{runner, 1, workspace});
}

Layer load_layer(WeightMap& weights, const TransformerShape& shape, std::size_t index,
                 CrossAttentionForm form) {
  if (shape.pre_norm || shape.has_self_attention(index)) {
    throw std::runtime_error("only post-norm decoders whose labels do not interact");
  }
  const std::string prefix = "transformer.decoder.layers." + std::to_string(index) + ".";
  Layer layer;
  layer.cross_attention = load_multi_head_attention<float>(
      weights, prefix + "multihead_attn", shape.width, shape.heads,
      [form](const auto& p) { return ops::CrossAttention<float, Arch>(p, form); });
  layer.feed_forward.linear1 =
      load_linear<float, Arch>(weights, prefix + "linear1", shape.width, shape.feed_forward);
  layer.feed_forward.linear2 =
      load_linear<float, Arch>(weights, prefix + "linear2", shape.feed_forward, shape.width);
  layer.norm2 = load_layer_norm<float>(weights, prefix + "norm2", shape.width);
  layer.norm3 = load_layer_norm<float>(weights, prefix + "norm3", shape.width);
  return layer;
}

/// The tokens of N images, m and m + pos [N T, D].
struct Tokens {
  std::size_t images;
  Rows plain, positioned;
};

/// What the host hands to the GPU: the projected labels x [N K, D] (one image's if all share them)
/// and the tokens, projected unless the form is reassociated.
AttentionExample operands(const Layer& layer, Tokens& tokens, Rows& x, std::size_t labels) {
  const auto& attention = layer.cross_attention;
  const bool is_reassociated = attention.form == CrossAttentionForm::project_labels;
  const std::size_t width = attention.width(), heads = attention.heads;
  const std::size_t head_width = is_reassociated ? width : width / heads;
  const std::size_t sets = x.values.size() / width / labels;
  const std::size_t count = tokens.plain.values.size() / width / tokens.images;
  const auto as_int = [](std::size_t value) { return static_cast<int>(value); };
  AttentionExample example({as_int(tokens.images), as_int(heads), as_int(labels), as_int(count),
                            as_int(head_width), sets == 1, is_reassociated},
                           1.0, ops::attention_scale<float>(width, heads));

  Rows keys = tokens.positioned, values = tokens.plain;
  if (!is_reassociated) {
    run([&](const Context& context) {
      ops::linear<float, Arch>(context, attention.key[0], tokens.positioned.view(), keys.view());
      ops::linear<float, Arch>(context, attention.value[0], tokens.plain.view(), values.view());
    });
  }
  for (std::size_t n = 0; n < sets; ++n) {
    Rows queries(attention.query_rows(labels), width);
    run([&](const Context& context) {
      ops::project_queries<float, Arch>(context, attention, x.view().row_range(n * labels, labels),
                                        queries.view());
    });
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t l = 0; l < labels; ++l) {
        const float* const row = queries.view().row(is_reassociated ? h * labels + l : l);
        std::copy_n(row + (is_reassociated ? 0 : h * head_width), head_width,
                    example.q.at(as_int(n), as_int(h), as_int(l)));
      }
    }
  }
  for (std::size_t n = 0; n < tokens.images; ++n) {
    for (std::size_t h = 0; h < (is_reassociated ? 1 : heads); ++h) {
      for (std::size_t t = 0; t < count; ++t) {
        const std::size_t row = n * count + t, column = h * head_width;
        std::copy_n(keys.view().row(row) + column, head_width,
                    example.k.at(as_int(n), as_int(h), as_int(t)));
        std::copy_n(values.view().row(row) + column, head_width,
                    example.v.at(as_int(n), as_int(h), as_int(t)));
      }
    }
  }
  return example;
}

/// x += what the layer makes of an attention's out [N A K, w], then the rest of the layer.
void finish_layer(const Layer& layer, std::vector<float>& out, std::size_t images,
                  std::size_t labels, Matrix<float> x) {
  const auto& attention = layer.cross_attention;
  const std::size_t heads = attention.heads, head_width = x.columns / heads;
  const std::size_t width = out.size() / images / heads / labels;
  Rows attended(x.rows, x.columns);
  run([&](const Context& context) {
    for (std::size_t i = 0; i < images * heads; ++i) {
      const Matrix<float> one(out.data() + i * labels * width, labels, width);
      const Matrix<float> to = attended.view()
                                   .row_range(i / heads * labels, labels)
                                   .column_range(i % heads * head_width, head_width);
      if (attention.form == CrossAttentionForm::project_labels) {
        ops::linear<float, Arch>(context, attention.value[i % heads], one, to);
      } else {
        for (std::size_t l = 0; l < labels; ++l) std::copy_n(one.row(l), head_width, to.row(l));
      }
    }
    ops::linear<float, Arch>(context, attention.out, attended.view(), x, {.residual = x});
    ops::layer_norm<float, Arch>(context, layer.norm2, x, x);
    ops::feed_forward<float, Arch>(context, layer.feed_forward, x, x, {.residual = x});
    ops::layer_norm<float, Arch>(context, layer.norm3, x, x);
  });
}

/// The largest error of the maps [N A K, T], averaged over heads, that the file has of `layer`.
double map_error(const nlohmann::json& attention, std::size_t layer, std::size_t heads,
                 std::size_t labels, const std::vector<float>& maps) {
  double error = 0.0;
  for (const nlohmann::json& expected : attention) {
    if (expected.at("layer").get<std::size_t>() != layer) continue;
    const auto map = expected.at("map").get<std::vector<double>>();
    const std::size_t image = expected.at("image").get<std::size_t>();
    const std::size_t label = expected.at("label").get<std::size_t>();
    for (std::size_t t = 0; t < map.size(); ++t) {
      double mean = 0.0;
      for (std::size_t h = 0; h < heads; ++h) {
        mean +=
            static_cast<double>(maps.at(((image * heads + h) * labels + label) * map.size() + t));
      }
      error = worst(error, std::abs(mean / static_cast<double>(heads) - map[t]));
    }
  }
  return error;
}

}  // namespace

GoldenReport check_golden_attention(const std::string& path, bool is_reassociated,
                                    const Attend& attend) {
  const nlohmann::json file = nlohmann::json::parse(std::ifstream(path));
  const nlohmann::json& expect = file.at("expect");
  const nlohmann::json& pytorch = file.at("float32_error_of_pytorch");
  WeightMap weights = golden_weights(file);
  const TransformerShape shape = make_model_config(file.at("config"), weights).transformer;
  const auto form =
      is_reassociated ? CrossAttentionForm::project_labels : CrossAttentionForm::project_memory;
  const std::size_t width = shape.width, labels = shape.labels;

  const auto grid = expect.at("features").at("shape").get<std::vector<std::size_t>>();
  const PositionEncoding<float> position(grid.at(2), grid.at(3), width);
  const std::size_t images = grid.at(0), count = grid.at(2) * grid.at(3);
  Tokens tokens{images, {images * count, width}, {images * count, width}};
  tokens.plain.values = golden_memory(file);
  Rows embed(labels, width);
  const SharedBuffer<float> queries = weights.take<float>("query_embed.weight", {labels, width});
  embed.values.assign(queries.begin(), queries.end());

  GoldenReport report;
  Rows x(images * labels, width), asked = embed;
  run([&](const Context& context) {
    ops::add<float, Arch>(context, tokens.plain.view(), position.matrix(),
                          tokens.positioned.view());
  });
  double attention_error = 0.0;
  for (std::size_t i = 0; i < shape.decoder_layers; ++i) {
    const Layer layer = load_layer(weights, shape, i, form);
    AttentionOutcome outcome = attend(operands(layer, tokens, asked, labels));
    attention_error = worst(
        attention_error, map_error(expect.at("attention"), i, shape.heads, labels, outcome.maps));
    finish_layer(layer, outcome.out, images, labels, x.view());
    asked = x;
    run([&](const Context& context) {
      ops::add<float, Arch>(context, x.view(), embed.view(), asked.view());
    });
  }
  report.add("attention", attention_error,
             std::max(1e-5, 3.0 * pytorch.at("attention").get<double>()));

  const auto norm = load_layer_norm<float>(weights, "transformer.decoder.norm", width);
  run([&](const Context& context) {
    ops::layer_norm<float, Arch>(context, norm, x.view(), x.view());
  });
  const nlohmann::json& decoded = expect.at("decoded");
  const auto value = [&](std::size_t i) {  // [1, K, N, D]
    const std::size_t k = i / width / images, n = i / width % images;
    return static_cast<double>(x.values[(n * labels + k) * width + i % width]);
  };
  report.add(
      "decoded", detail::tensor_error(decoded, x.values.size(), value),
      std::max(1e-4 * decoded.at("std").get<double>(), 3.0 * pytorch.at("decoded").get<double>()));
  return report;
}

}  // namespace q2l::test
