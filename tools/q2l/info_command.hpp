// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/options.hpp"
#include "query2label/core/fixed_decimals.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/session.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {
namespace detail {

/// A count for people: "11.2 million".
inline std::string rounded(std::uint64_t count) {
  if (count >= 1'000'000) return fixed_decimals(static_cast<double>(count) / 1e6, 1) + " million";
  return std::to_string(count);
}

inline std::string megabytes(std::uint64_t bytes) {
  return fixed_decimals(static_cast<double>(bytes) / 1e6, 1) + " MB";
}

inline std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += ", ";
    text += escape_line(part);
  }
  return text;
}

template <class Floats>
std::string joined_floats(const Floats& values) {
  std::string text;
  for (const float value : values) {
    if (!text.empty()) text += ' ';
    text += shortest(value);
  }
  return text;
}

inline std::string layers(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " layer" : " layers");
}

inline std::string self_attention(const TransformerShape& shape) {
  if (shape.keep_first_self_attention && shape.keep_other_self_attention) return ", self-attention";
  if (shape.keep_first_self_attention) return ", self-attention in the first";
  if (shape.keep_other_self_attention) return ", self-attention in all but the first";
  return "";
}

constexpr std::string_view format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::safetensors:
      return "safetensors";
    case WeightFormat::packed:
      return "packed safetensors";
    case WeightFormat::torch_zip:
      return "PyTorch checkpoint";
    case WeightFormat::torch_legacy:
      return "PyTorch checkpoint, older format";
    case WeightFormat::memory:
      break;
  }
  return "memory";
}

/// Bytes of scratch for tagging one picture, found by planning alone.
inline std::size_t planned_scratch(const Query2Label<>& model) {
  const std::size_t side = model.config().image_size;
  const std::size_t tokens = model.position().matrix().rows;
  SerialRunner runner;
  Workspace plan = Workspace::planning();
  const Context context{runner, 1, plan};
  const FeatureMap<const float> picture{nullptr, 1, side, side, 3};
  const Matrix<float> memory{nullptr, tokens, model.width()};
  model.encode(context, picture, model.position(), memory);
  model.query(context, memory, 1, model.position(), {}, {{nullptr, 1, model.labels()}});
  return plan.peak();
}

/// Bytes of a model's weights as this program's instruction set needs them.
inline std::size_t weight_bytes(const Query2Label<>& model) {
  std::size_t bytes = 0;
  const auto add = [&](const std::string&, const auto& buffer) {
    bytes += buffer.size() * sizeof(*buffer.data());
  };
  BufferVisitor visit(add);
  model.visit_buffers(model, visit);
  return bytes;
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
inline std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return statm ? resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

/// What of a model file is to be printed, so that the file need not stay open.
struct FileSummary {
  std::string format, note, stored, packed_for;
  std::uint64_t elements = 0;
  bool has_self_test = false;
};

inline FileSummary summarize(const ModelOptions& options) {
  const ModelFile file = open_model(options);
  FileSummary summary{std::string(format_name(file.weights.source().format)),
                      file.weights.source().note,
                      "",
                      file.weights.source().packed ? file.weights.source().packed->describe() : "",
                      0,
                      file.self_test.has_value()};
  std::map<std::string_view, std::size_t> types;
  for (const std::string& name : file.weights.names()) {
    summary.elements += file.weights.entry(name).element_count();
    if (!file.weights.source().packed) ++types[to_string(file.weights.entry(name).dtype)];
  }
  for (const TensorEntry& buffer : file.weights.source().buffers) ++types[to_string(buffer.dtype)];
  for (const auto& [type, count] : types) {
    if (!summary.stored.empty()) summary.stored += ", ";
    summary.stored += std::string(type) + " (" + std::to_string(count) + " tensors)";
  }
  const PrecisionPlan& plan = file.weights.precision();
  if (plan.all() != Precision::f32) {
    std::map<Precision, std::size_t> layers;
    for (const auto& [layer, precision] : plan.exceptions()) ++layers[precision];
    summary.stored += ", computed in " + std::string(to_string(plan.all()));
    for (const auto& [precision, count] : layers)
      summary.stored += (precision == layers.begin()->first ? ", but " : " and ") +
                        std::to_string(count) + " in " + std::string(to_string(precision));
  }
  return summary;
}

}  // namespace detail

/// Prints what a model is: loads it, so that a damaged one fails. `measure` also runs it once.
inline void run_info(const ModelOptions& options, bool measure) {
  const detail::FileSummary file = detail::summarize(options);
  const Tagger tagger = Tagger::load(options.model, tagger_options(options, {.self_test = true}));
  check_model(options, tagger);
  const ModelConfig& config = tagger.config();
  const TransformerShape& shape = config.transformer;

  const auto print = [](std::string_view key, const std::string& value) {
    std::printf("%-12.*s %s\n", static_cast<int>(key.size()), key.data(), value.c_str());
  };
  print("model", escape_line(options.model) + " (" + file.format + ")");
  if (!file.note.empty()) print("", file.note);
  print("backbone", config.backbone_name + ", " +
                        std::to_string(tagger.model().backbone_channels()) + " channels, stride " +
                        std::to_string(tagger.model().stride()));
  print("picture", std::to_string(config.image_size) + " x " + std::to_string(config.image_size) +
                       ", mean " + detail::joined_floats(config.normalization.mean) + ", std " +
                       detail::joined_floats(config.normalization.std));
  print("projection",
        config.input_projection ? "1 x 1 convolution to the transformer's width" : "none");
  print("transformer", "width " + std::to_string(shape.width) + ", " + std::to_string(shape.heads) +
                           " heads, feed-forward " + std::to_string(shape.feed_forward) +
                           (shape.pre_norm ? ", norm first" : ""));
  print("encoder", detail::layers(shape.encoder_layers));
  print("decoder", detail::layers(shape.decoder_layers) + detail::self_attention(shape));
  print("parameters", detail::rounded(file.elements));
  print("stored as", file.stored);
  if (!file.packed_for.empty()) print("packed for", escape_line(file.packed_for));
  print("memory", detail::megabytes(detail::weight_bytes(tagger.model())) + " of weights, " +
                      detail::megabytes(detail::planned_scratch(tagger.model())) +
                      " of scratch for a picture");
  if (measure) {
    const int side = static_cast<int>(config.image_size);
    const auto bytes = static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3;
    static_cast<void>(tagger.tag(Image{side, side, std::vector<std::uint8_t>(bytes, 127)}));
    print("measured", detail::megabytes(detail::resident_bytes()) + " resident after a picture");
  }
  print("self-test", file.has_self_test ? "passed" : "none in the file");
  print("thresholds", detail::joined_floats(tagger.thresholds()));
  print("labels",
        std::to_string(tagger.labels().size()) + ": " + detail::joined(tagger.labels().names()));
}

}  // namespace q2l::command
