// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/options.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/session.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {
namespace detail {

/// A count for people: "11.2 million".
inline std::string rounded(std::uint64_t count) {
  if (count >= 1'000'000) return fixed(static_cast<double>(count) / 1e6, 1) + " million";
  return std::to_string(count);
}

inline std::string megabytes(std::uint64_t bytes) {
  return fixed(static_cast<double>(bytes) / 1e6, 1) + " MB";
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
    case WeightFormat::torch_zip:
      return "PyTorch checkpoint";
    case WeightFormat::torch_legacy:
      return "PyTorch checkpoint, older format";
    case WeightFormat::memory:
      break;
  }
  return "memory";
}

/// Bytes that tagging one picture takes beside the weights and the picture.
inline std::size_t working_memory(const Query2Label<>& model) {
  const std::size_t side = model.config().image_size;
  AlignedBuffer<float> pixels(side * side * 3);
  std::fill_n(pixels.data(), pixels.size(), 0.0f);
  SerialRunner runner;
  Session session(model, runner, 1);
  const auto memory = session.encode({pixels.data(), 1, side, side, 3});
  static_cast<void>(session.query(memory));
  return session.workspace_bytes() + (pixels.size() + memory.tokens.size()) * sizeof(float);
}

}  // namespace detail

/// Prints what a model is: loads it, so that a damaged one fails, and runs it once.
inline void run_info(const ModelOptions& options) {
  const ModelFile file = open_model_file(options.model, options.config);
  const Tagger tagger = Tagger::load(
      options.model,
      {.config_path = options.config, .labels_path = options.labels, .self_test = true});
  const ModelConfig& config = tagger.config();
  const TransformerShape& shape = config.transformer;

  std::uint64_t elements = 0;
  std::map<std::string_view, std::size_t> types;
  for (const std::string& name : file.weights.names()) {
    elements += file.weights.entry(name).element_count();
    ++types[to_string(file.weights.dtype(name))];
  }
  std::string stored;
  for (const auto& [type, count] : types)
    stored += (stored.empty() ? "" : ", ") + std::string(type) + " (" + std::to_string(count) +
              " tensors)";

  const auto print = [](std::string_view key, const std::string& value) {
    std::printf("%-12.*s %s\n", static_cast<int>(key.size()), key.data(), value.c_str());
  };
  print("model", escape_line(options.model) + " (" +
                     std::string(detail::format_name(file.weights.format())) + ")");
  if (!file.weights.note().empty()) print("", file.weights.note());
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
  print("parameters", detail::rounded(elements));
  print("stored as", stored);
  print("memory", detail::megabytes(elements * sizeof(float)) + " of weights, " +
                      detail::megabytes(detail::working_memory(tagger.model())) + " for a picture");
  print("self-test", file.self_test ? "passed" : "none in the file");
  print("thresholds", detail::joined_floats(tagger.thresholds()));
  print("labels",
        std::to_string(tagger.labels().size()) + ": " + detail::joined(tagger.labels().names()));
}

}  // namespace q2l::command
