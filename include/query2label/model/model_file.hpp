// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/read_file.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/model/precision_metadata.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/read_weights.hpp"
#include "query2label/weights/weight_map.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l {

/// An input that a model file carries and what the model answers to it.
struct SelfTest {
  std::uint64_t seed = 0;  ///< of counter_images
  std::size_t height = 0;
  std::size_t width = 0;
  double offset = 0.0;
  double scale = 1.0;
  std::vector<double> logits;  ///< [K]
  double bound = 1e-4;         ///< largest difference of an answer that passes
};

/// An opened model: weights not yet taken, and everything said about them.
struct ModelFile {
  std::string path;
  WeightMap weights;
  JsonDocument document;  ///< the configuration as found, an empty object if there was none
  ModelConfig config;
  std::vector<std::string> labels;  ///< empty where the file does not name them
  std::vector<float> thresholds;    ///< none, one, or one per label
  std::optional<SelfTest> self_test;
};

namespace detail {

[[noreturn]] inline void fail_metadata(const std::string& key, const std::string& expected,
                                       const std::string& actual) {
  throw Error(ErrorCode::bad_config, "the metadata does not fit",
              {.subject = key, .expected = expected, .actual = actual});
}

template <class T>
std::vector<T> read_array(const std::string& key, const nlohmann::json& value,
                          bool (nlohmann::json::*is)() const noexcept, const char* expected) {
  if (!value.is_array()) fail_metadata(key, expected, value.type_name());
  std::vector<T> out;
  for (const nlohmann::json& element : value) {
    if (!(element.*is)()) fail_metadata(key, expected, element.dump());
    out.push_back(element.template get<T>());
  }
  return out;
}

inline SelfTest read_self_test(const nlohmann::json& value) {
  constexpr const char* key = "self_test";
  try {
    const auto shape = read_array<std::size_t>(
        key, value.at("shape"), &nlohmann::json::is_number_unsigned, "a shape [1, 3, H, W]");
    if (shape.size() != 4 || shape[0] != 1 || shape[1] != 3) {
      fail_metadata(key, "a shape [1, 3, H, W]", value.at("shape").dump());
    }
    if (!value.at("seed").is_number_unsigned()) {
      fail_metadata(key, "a seed that is a whole number from 0", value.at("seed").dump());
    }
    return {value.at("seed").get<std::uint64_t>(),
            shape[2],
            shape[3],
            value.at("offset").get<double>(),
            value.at("scale").get<double>(),
            value.at("logits").get<std::vector<double>>(),
            value.value("bound", SelfTest{}.bound)};
  } catch (const nlohmann::json::exception&) {
    fail_metadata(key, "seed, shape, offset, scale and logits", value.dump());
  }
}

/// The configuration beside a checkpoint, or an empty path.
inline std::filesystem::path find_config_beside(const std::filesystem::path& checkpoint) {
  std::error_code ignored;
  for (const std::filesystem::path& candidate :
       {checkpoint.parent_path() / "config_new.json",
        std::filesystem::path(checkpoint).replace_extension(".json")}) {
    if (std::filesystem::is_regular_file(candidate, ignored)) return candidate;
  }
  return {};
}

/// Reads a configuration file, errors naming it.
inline JsonDocument read_config_file(const std::filesystem::path& path, const Limits& limits) {
  try {
    const std::vector<std::byte> bytes = read_file(path, limits.json_bytes);
    return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string(),
                      limits);
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
}

/// What the metadata of a safetensors file says.
inline void read_metadata(ModelFile& file, const Limits& limits) {
  const auto& metadata = file.weights.source().metadata;
  if (metadata.contains("config")) {
    file.document = parse_metadata(metadata, "config", limits);
    if (!file.document->is_object())
      fail_metadata("config", "an object", file.document->type_name());
  }
  for (const char* key : {"mean", "std"}) {
    if (metadata.contains(key)) (*file.document)[key].swap(*parse_metadata(metadata, key, limits));
  }
  if (metadata.contains("labels")) {
    file.labels = read_array<std::string>("labels", *parse_metadata(metadata, "labels", limits),
                                          &nlohmann::json::is_string, "an array of strings");
  }
  if (metadata.contains("thresholds")) {
    file.thresholds =
        read_array<float>("thresholds", *parse_metadata(metadata, "thresholds", limits),
                          &nlohmann::json::is_number, "an array of numbers");
  }
  if (metadata.contains("precision")) {
    file.weights.set_precision(precision_from_json(*parse_metadata(metadata, "precision", limits)));
  }
  if (metadata.contains("self_test")) {
    file.self_test = read_self_test(*parse_metadata(metadata, "self_test", limits));
  }
}

}  // namespace detail

/// Opens a model: a safetensors file whose metadata says everything, or a checkpoint of the
/// reference with its configuration in `config_path` (or, if that is empty, in `config_new.json` or
/// `NAME.json` beside it; without any, what the tensors show). An explicit configuration replaces
/// the metadata's, but for the pixels' mean and standard deviation where it lacks them. `precision`
/// replaces the file's own; int8 needs the scales that a calibrated file carries. Throws Error
/// naming the file at fault.
inline ModelFile open_model_file(const std::filesystem::path& path,
                                 const std::filesystem::path& config_path = {},
                                 const Limits& limits = {},
                                 const WeightOptions& weight_options = {},
                                 std::optional<Precision> precision = {}) {
  ModelFile file;
  file.path = path.string();
  file.weights = read_weights(path, limits, weight_options);
  file.document = JsonDocument(nlohmann::json::object());
  try {
    detail::read_metadata(file, limits);
  } catch (const Error& error) {
    throw error.in_file(file.path);
  }
  if (precision && *precision != file.weights.precision().all()) {
    if (file.weights.source().packed) {
      throw Error(ErrorCode::bad_argument, "a packed file keeps the precision it was packed in",
                  {.path = file.path,
                   .expected = std::string(to_string(file.weights.precision().all())),
                   .actual = std::string(to_string(*precision))});
    }
    if (*precision == Precision::int8) {
      throw Error(ErrorCode::bad_argument,
                  "int8 needs a model file that was calibrated (q2l convert --precision int8)",
                  {.path = file.path});
    }
    file.weights.set_precision(PrecisionPlan(*precision));
  }
  std::filesystem::path config = config_path;
  if (config.empty() && !file.weights.source().metadata.contains("config")) {
    config = detail::find_config_beside(path);
  }
  if (!config.empty()) {
    JsonDocument pixels = std::move(file.document);  // what the metadata say of them
    file.document = detail::read_config_file(config, limits);
    for (const char* key : {"mean", "std"}) {
      if (pixels->contains(key) && file.document->is_object() && !file.document->contains(key))
        (*file.document)[key].swap((*pixels)[key]);
    }
  }
  try {
    file.config = make_model_config(*file.document, file.weights, limits);
  } catch (const Error& error) {
    throw error.in_file(error.code() == ErrorCode::bad_config && !config.empty() ? config.string()
                                                                                 : file.path);
  }
  return file;
}

}  // namespace q2l
