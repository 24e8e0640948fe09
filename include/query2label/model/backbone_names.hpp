// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "query2label/backbone/backbone.hpp"
#include "query2label/core/error.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

struct NamedBackbone {
  std::string_view name;  ///< the reference's `backbone` key
  BackboneShape shape;
};

/// The shapes the reference has names for.
inline constexpr std::array named_backbones{
    NamedBackbone{"resnet18", ResNetShape{false, {2, 2, 2, 2}, 64}},
    NamedBackbone{"resnet34", ResNetShape{false, {3, 4, 6, 3}, 64}},
    NamedBackbone{"resnet50", ResNetShape{true, {3, 4, 6, 3}, 64}},
    NamedBackbone{"resnet101", ResNetShape{true, {3, 4, 23, 3}, 64}},
    NamedBackbone{"tresnetl", TResNetShape::large()},
    NamedBackbone{"tresnetxl", TResNetShape::extra_large()},
    NamedBackbone{"tresnetl_v2", TResNetShape::large_v2()},
    NamedBackbone{"swin_B_224_22k", SwinShape::base(7)},
    NamedBackbone{"swin_B_384_22k", SwinShape::base(12)},
    NamedBackbone{"swin_L_224_22k", SwinShape::large(7)},
    NamedBackbone{"swin_L_384_22k", SwinShape::large(12)},
    NamedBackbone{"CvT_w24", CvtShape{}},
};

namespace detail {

struct BackboneFamily {
  std::string_view name;
  std::string_view first_tensor;  ///< only this family has it
  BackboneShape (*infer)(const WeightMap&);
};

inline constexpr std::array backbone_families{
    BackboneFamily{"ResNet", "backbone.0.body.conv1.weight",
                   [](const WeightMap& w) -> BackboneShape { return infer_resnet_shape(w); }},
    BackboneFamily{"TResNet", "backbone.0.body.body.conv1.0.weight",
                   [](const WeightMap& w) -> BackboneShape { return infer_tresnet_shape(w); }},
    BackboneFamily{"Swin", "backbone.0.patch_embed.proj.weight",
                   [](const WeightMap& w) -> BackboneShape { return infer_swin_shape(w); }},
    BackboneFamily{"CvT", "backbone.0.stage0.patch_embed.proj.weight",
                   [](const WeightMap& w) -> BackboneShape { return infer_cvt_shape(w); }},
};

inline const BackboneFamily& find_backbone_family(const WeightMap& weights) {
  std::string tried;
  for (const BackboneFamily& family : backbone_families) {
    if (weights.contains(std::string(family.first_tensor))) return family;
    tried += (tried.empty() ? "" : "; ") + std::string(family.name) + " has '" +
             std::string(family.first_tensor) + "'";
  }
  throw Error(ErrorCode::missing_tensor, "the backbone is of no known family: " + tried);
}

// What a description of a freely sized backbone says, compared and written without making JSON
// values, whose destructors ask for memory.

inline bool says(const nlohmann::json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}
inline bool says(const nlohmann::json& value, std::size_t number) { return value == number; }
template <std::size_t Count>
bool says(const nlohmann::json& value, const std::array<std::size_t, Count>& numbers) {
  return value.is_array() && std::equal(value.begin(), value.end(), numbers.begin(), numbers.end());
}

inline std::string json_text(std::string_view text) { return json_quoted(text); }
inline std::string json_text(std::size_t number) { return std::to_string(number); }
template <std::size_t Count>
std::string json_text(const std::array<std::size_t, Count>& numbers) {
  std::string out;
  for (const std::size_t number : numbers) out += (out.empty() ? "[" : ",") + json_text(number);
  return out + "]";
}

/// Throws bad_config where the description `arch` says otherwise than the weights, as far as it can
/// be compared.
inline void require_same_arch(const BackboneShape& found, const nlohmann::json& arch) {
  const auto require = [&](const std::string& key, const auto& own) {
    if (!arch.contains(key) || says(arch[key], own)) return;
    throw Error(ErrorCode::bad_config, "the configuration does not fit",
                {.subject = "backbone_arch." + key,
                 .expected = json_text(own) + ", as the weights have it",
                 .actual = arch[key].dump()});
  };
  if (const auto* resnet = std::get_if<ResNetShape>(&found)) {
    require("type", std::string_view("resnet"));
    require("block", std::string_view(resnet->bottleneck ? "bottleneck" : "basic"));
    require("layers", resnet->layers);
    require("width", resnet->width);
  } else if (const auto* tresnet = std::get_if<TResNetShape>(&found)) {
    require("type", std::string_view("tresnet"));
    require("layers", tresnet->layers);
  } else if (const auto* swin = std::get_if<SwinShape>(&found)) {
    require("type", std::string_view("swin"));
    require("embed_dim", swin->embed_dim);
    require("depths", swin->depths);
    require("num_heads", swin->heads);
  } else {
    const CvtShape& cvt = std::get<CvtShape>(found);
    require("type", std::string_view("cvt"));
    require("embed_dims", cvt.embed_dims);
    require("depths", cvt.depths);
  }
}

/// What a freely sized backbone's description adds to what the tensors show: CvT's heads.
inline BackboneShape complete_shape(BackboneShape shape, const nlohmann::json& arch) {
  auto* cvt = std::get_if<CvtShape>(&shape);
  if (cvt == nullptr || !arch.is_object() || !arch.contains("num_heads")) return shape;
  const nlohmann::json& heads = arch["num_heads"];
  const bool fits = heads.is_array() && heads.size() == cvt->heads.size() &&
                    std::all_of(heads.begin(), heads.end(), [](const nlohmann::json& n) {
                      return n.is_number_unsigned() && n.get<std::uint64_t>() <= 4096;
                    });
  if (!fits) {
    throw Error(ErrorCode::bad_config, "the configuration does not fit",
                {.subject = "backbone_arch.num_heads",
                 .expected = "a number of heads for each of 3 stages",
                 .actual = heads.dump()});
  }
  for (std::size_t i = 0; i < cvt->heads.size(); ++i) {
    cvt->heads[i] = heads[i].get<std::size_t>();
  }
  return shape;
}

}  // namespace detail

/// The backbone's name and shape. `name` and `arch` are the configuration's `backbone` and
/// `backbone_arch`, or absent. A name alone means exactly that shape; otherwise the shape is read
/// off the tensors. Throws Error bad_config for a name that is unknown or of another family than
/// the weights and for a description that contradicts them, missing_tensor for an unknown family
/// (and says which were tried).
inline std::pair<std::string, BackboneShape> choose_backbone(const std::optional<std::string>& name,
                                                             const nlohmann::json* arch,
                                                             const WeightMap& weights) {
  const detail::BackboneFamily& family = detail::find_backbone_family(weights);
  BackboneShape found = family.infer(weights);
  if (arch != nullptr) {
    detail::require_same_arch(found, *arch);
    found = detail::complete_shape(std::move(found), *arch);
  }
  if (!name) {
    for (const NamedBackbone& known : named_backbones) {
      if (known.shape == found) return {std::string(known.name), found};
    }
    return {std::string(family.name), found};
  }
  std::string names;
  for (const NamedBackbone& known : named_backbones) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
    if (known.name != *name) continue;
    if (known.shape.index() != found.index()) {
      throw Error(ErrorCode::bad_config, "the weights are those of another backbone",
                  {.subject = "backbone", .expected = *name, .actual = std::string(family.name)});
    }
    BackboneShape shape = arch != nullptr ? found : known.shape;
    // A Swin trained on smaller pictures than its name says has smaller windows in late stages.
    if (auto* swin = std::get_if<SwinShape>(&shape))
      swin->windows = std::get<SwinShape>(found).windows;
    return {*name, shape};
  }
  throw Error(ErrorCode::bad_config, "unknown backbone",
              {.subject = "backbone", .expected = "one of " + names, .actual = *name});
}

}  // namespace q2l
