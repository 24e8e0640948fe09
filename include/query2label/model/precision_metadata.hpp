// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/precision_plan.hpp"

namespace q2l {

/// A plan as the metadata `precision` of a model file:
///   {"all": "int8", "layers": {NAME: "bf16", ...}, "inputs": {NAME: [scale, zero_point], ...}}
inline JsonDocument to_json(const PrecisionPlan& plan) {
  JsonDocument out(nlohmann::json::object());
  (*out)["all"] = to_string(plan.all());
  nlohmann::json& layers = (*out)["layers"] = nlohmann::json::object();
  for (const auto& [name, precision] : plan.exceptions()) layers[name] = to_string(precision);
  nlohmann::json& inputs = (*out)["inputs"] = nlohmann::json::object();
  for (const auto& [name, input] : plan.inputs()) {
    inputs[name].push_back(input.scale);
    inputs[name].push_back(input.zero_point);
  }
  return out;
}

namespace detail {

[[noreturn]] inline void fail_precision(const std::string& expected, const nlohmann::json& actual) {
  throw Error(ErrorCode::bad_config, "the metadata does not fit",
              {.subject = "precision", .expected = expected, .actual = actual.dump()});
}

inline Precision read_precision(const nlohmann::json& value) {
  const auto precision =
      value.is_string() ? precision_named(value.get_ref<const std::string&>()) : std::nullopt;
  if (!precision) fail_precision("f32, bf16 or int8", value);
  return *precision;
}

inline Quantization read_quantization(const nlohmann::json& value) {
  constexpr const char* expected = "[scale above 0, zero point 0..255]";
  if (!value.is_array() || value.size() != 2 || !value[0].is_number() ||
      !value[1].is_number_unsigned() || value[1].get<std::uint64_t>() > 255) {
    fail_precision(expected, value);
  }
  const Quantization out{value[0].get<float>(), value[1].get<std::int32_t>()};
  if (!(out.scale > 0) || !is_finite(out.scale) || !is_finite(1 / out.scale)) {
    fail_precision(expected, value);
  }
  return out;
}

}  // namespace detail

/// Reads what `to_json` made. Throws Error bad_config.
inline PrecisionPlan precision_from_json(const nlohmann::json& value) {
  const auto is_object = [&](const char* key) {
    return value.is_object() && value.contains(key) && value.at(key).is_object();
  };
  if (!is_object("layers") || !is_object("inputs") || !value.contains("all")) {
    detail::fail_precision("an object with all, layers and inputs", value);
  }
  PrecisionPlan plan(detail::read_precision(value.at("all")));
  for (const auto& [name, precision] : value.at("layers").items()) {
    plan.except(name, detail::read_precision(precision));
  }
  for (const auto& [name, input] : value.at("inputs").items()) {
    plan.set_input(name, detail::read_quantization(input));
  }
  return plan;
}

}  // namespace q2l
