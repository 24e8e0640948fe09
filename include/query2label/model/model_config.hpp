// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "query2label/backbone/backbone.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/image/normalize.hpp"
#include "query2label/model/backbone_names.hpp"
#include "query2label/model/config_reader.hpp"
#include "query2label/transformer/transformer_shape.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/shape_inference.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// Everything about a model that is not a weight.
struct ModelConfig {
  std::string backbone_name;  ///< the reference's `backbone`, or the family where no name fits
  BackboneShape backbone;
  std::size_t image_size = 448;  ///< side of the square picture, pixels
  TransformerShape transformer;
  bool input_projection = false;  ///< `keep_input_proj`
  PixelNormalization normalization = PixelNormalization::imagenet();
  std::vector<MisspeltKey> misspelt_keys;  ///< of the configuration; nothing read them
  /// Keys and values that had to be assumed, as neither weights nor configuration tell them.
  std::vector<std::pair<std::string, std::string>> assumed;
};

namespace detail {

/// The transformer's sizes from the tensors' names and shapes; heads and labels' order cannot be
/// seen there. Width 0 when the tensors are not those of a Query2Label model.
inline TransformerShape infer_transformer_shape(const WeightMap& weights) {
  TransformerShape shape;
  const std::string decoder = "transformer.decoder.layers.";
  shape.labels = tensor_extent(weights, "query_embed.weight", 0);
  shape.width = tensor_extent(weights, "query_embed.weight", 1);
  shape.feed_forward = tensor_extent(weights, decoder + "0.linear1.weight", 0);
  shape.decoder_layers = count_numbered(weights, decoder, ".linear1.weight");
  shape.encoder_layers = count_numbered(weights, "transformer.encoder.layers.", ".linear1.weight");
  shape.pre_norm = weights.contains("transformer.encoder.norm.weight");
  shape.keep_first_self_attention = weights.contains(decoder + "0.self_attn.in_proj_weight");
  shape.keep_other_self_attention = weights.contains(decoder + "1.self_attn.in_proj_weight");
  return shape;
}

/// Three finite floats under `key`.
inline std::optional<std::array<float, 3>> read_channels(const ConfigReader& config,
                                                         const std::string& key) {
  const nlohmann::json* value = config.find(key);
  if (value == nullptr) return std::nullopt;
  std::array<float, 3> channels{};
  const auto is_float = [](const nlohmann::json& number) {
    return number.is_number() &&
           std::abs(number.get<double>()) <= double{std::numeric_limits<float>::max()};
  };
  if (!value->is_array() || value->size() != channels.size() ||
      !std::all_of(value->begin(), value->end(), is_float)) {
    ConfigReader::fail(key, "three numbers", value->dump());
  }
  for (std::size_t c = 0; c < channels.size(); ++c) channels[c] = (*value)[c].get<float>();
  return channels;
}

/// The resolution that the stored position code [1, D, S, S] shows; 0 where there is none. Throws
/// shape_mismatch.
inline std::size_t trained_side(const WeightMap& weights, std::size_t width, std::size_t stride,
                                std::size_t largest) {
  constexpr const char* name = "backbone.1.pe";
  if (!weights.contains(name)) return 0;
  const WeightMap::Shape& shape = weights.shape(name);
  const bool fits = shape.size() == 4 && shape[0] == 1 && shape[1] == width &&
                    shape[2] == shape[3] && shape[2] >= 1 && shape[2] <= largest / stride;
  if (!fits) {
    throw Error(ErrorCode::shape_mismatch, "not the position code of this model",
                {.subject = name,
                 .expected = "[1, " + std::to_string(width) + ", S, S] with S of at most " +
                             std::to_string(largest / stride),
                 .actual = shape_text(shape)});
  }
  return static_cast<std::size_t>(shape[2]) * stride;
}

}  // namespace detail

/// The configuration of the model in `weights`: what tensors show is read off them, the rest comes
/// from `document` (the reference's keys, flat; `backbone_arch` describes a freely sized backbone;
/// `mean` and `std` override the normalisation), and where both speak they must agree.
/// `document` may be an empty object: then 4 heads, the resolution of the stored position code (or
/// 448), and the family's usual normalisation are assumed.
/// Throws Error bad_config naming the key, shape_mismatch for a position code that does not fit, or
/// missing_tensor when this is no Query2Label model.
inline ModelConfig make_model_config(const nlohmann::json& document, const WeightMap& weights,
                                     const Limits& limits = {}) {
  using detail::ConfigReader;
  const ConfigReader config(document);
  constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
  ModelConfig model;

  TransformerShape& t = model.transformer;
  t = detail::infer_transformer_shape(weights);
  if (t.width == 0 || t.labels == 0 || t.feed_forward == 0 || t.decoder_layers == 0) {
    throw Error(ErrorCode::missing_tensor, "these are not the weights of a Query2Label model",
                {.subject = "query_embed.weight and transformer.decoder.layers.0.linear1.weight"});
  }
  ConfigReader::require_same("num_class", config.number("num_class", 1, any), t.labels);
  ConfigReader::require_same("hidden_dim", config.number("hidden_dim", 1, any), t.width);
  ConfigReader::require_same("dim_feedforward", config.number("dim_feedforward", 1, any),
                             t.feed_forward);
  ConfigReader::require_same("enc_layers", config.number("enc_layers", 0, any), t.encoder_layers);
  ConfigReader::require_same("dec_layers", config.number("dec_layers", 1, any), t.decoder_layers);
  ConfigReader::require_same("keep_first_self_attn_dec", config.flag("keep_first_self_attn_dec"),
                             t.keep_first_self_attention);
  if (t.decoder_layers > 1) {
    ConfigReader::require_same("keep_other_self_attn_dec", config.flag("keep_other_self_attn_dec"),
                               t.keep_other_self_attention);
  }
  // The encoder's last norm shows the order of the norms. The reference has it without layers, too,
  // but other files may have left it out there.
  const std::optional<bool> pre_norm = config.flag("pre_norm");
  if (t.encoder_layers > 0 || t.pre_norm) {
    ConfigReader::require_same("pre_norm", pre_norm, t.pre_norm);
  } else {
    t.pre_norm = pre_norm.value_or(false);
    if (!pre_norm) model.assumed.emplace_back("pre_norm", "false");
  }
  const std::optional<std::size_t> heads = config.number("nheads", 1, t.width);
  t.heads = heads.value_or(t.heads);
  if (!heads) model.assumed.emplace_back("nheads", std::to_string(t.heads));
  if (t.width % t.heads != 0) {
    ConfigReader::fail("nheads", "a divisor of " + std::to_string(t.width),
                       std::to_string(t.heads));
  }
  if (t.width % 4 != 0) {
    ConfigReader::fail("hidden_dim", "a multiple of 4", std::to_string(t.width));
  }
  const std::optional<std::string> position = config.text("position_embedding");
  if (position && *position != "sine" && *position != "v2") {
    ConfigReader::fail("position_embedding", "sine", *position);
  }

  model.input_projection = weights.contains("input_proj.weight");
  ConfigReader::require_same("keep_input_proj", config.flag("keep_input_proj"),
                             model.input_projection);

  const nlohmann::json* arch = config.find("backbone_arch");
  if (arch != nullptr && !arch->is_object()) {
    ConfigReader::fail("backbone_arch", "an object", arch->type_name());
  }
  const std::optional<std::string> name = config.text("backbone");
  std::tie(model.backbone_name, model.backbone) = choose_backbone(name, arch, weights);
  const std::size_t stride = backbone_stride(model.backbone);

  const auto largest_side = static_cast<std::size_t>(limits.model_side);
  const std::size_t trained_side = detail::trained_side(weights, t.width, stride, largest_side);
  const std::optional<std::size_t> side = config.number("img_size", stride, largest_side);
  model.image_size = side.value_or(trained_side != 0 ? trained_side : 448);
  if (!side && trained_side == 0) model.assumed.emplace_back("img_size", "448");
  if (model.image_size % stride != 0) {
    ConfigReader::fail("img_size", "a multiple of " + std::to_string(stride),
                       std::to_string(model.image_size));
  }

  const std::optional<bool> orid_norm = config.flag("orid_norm");
  const bool unit_pixels =
      orid_norm.value_or(std::visit([](const auto& s) { return s.unit_pixels; }, model.backbone));
  if (!orid_norm && (config.find("mean") == nullptr || config.find("std") == nullptr)) {
    model.assumed.emplace_back("orid_norm", unit_pixels ? "true" : "false");
  }
  if (unit_pixels) model.normalization = PixelNormalization::unit();
  if (const auto mean = detail::read_channels(config, "mean")) model.normalization.mean = *mean;
  if (const auto std = detail::read_channels(config, "std")) {
    for (const float s : *std) {
      if (!(s > 0.0f)) ConfigReader::fail("std", "positive numbers", std::to_string(s));
    }
    model.normalization.std = *std;
  }
  model.misspelt_keys = config.misspelt_keys();
  return model;
}

}  // namespace q2l
