// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "q2l/interrupt.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/options.hpp"
#include "q2l/picture_source.hpp"
#include "q2l/precision_conversion.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/machine_threads.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/self_test.hpp"
#include "query2label/tagger.hpp"
#include "query2label/weights/file_kind.hpp"
#include "query2label/weights/packed_buffers.hpp"
#include "query2label/weights/safetensors_writer.hpp"

namespace q2l::command {
namespace detail {

/// The name of a file in the folder of `path`, removed at the end.
class DraftFile {
 public:
  explicit DraftFile(const std::string& path) : name_(name_beside(path)) {}
  DraftFile(const DraftFile&) = delete;
  DraftFile& operator=(const DraftFile&) = delete;
  ~DraftFile() { ::unlink(name_.c_str()); }
  [[nodiscard]] const std::string& path() const noexcept { return name_; }

  static std::string name_beside(const std::string& path) {
    const std::string name = "q2l-" + std::to_string(::getpid()) + ".part";
    return std::filesystem::path(path).replace_filename(name).string();
  }

 private:
  std::string name_;
};

/// Removes what this process has not finished writing of `output`, and its draft.
inline void remove_unfinished(const std::filesystem::path& output) noexcept try {
  const std::string draft = DraftFile::name_beside(output.string());
  const std::string unfinished = OutputFile::unfinished_prefix(output.string());
  const std::filesystem::path folder = output.parent_path();
  for (const auto& entry : std::filesystem::directory_iterator(folder.empty() ? "." : folder)) {
    const std::string path = (folder / entry.path().filename()).string();
    if (path.ends_with(".part") && (path.starts_with(draft) || path.starts_with(unfinished)))
      ::unlink(path.c_str());
  }
} catch (const std::exception&) {  // best effort
}

/// Throws Failure where a file of that name is there that is neither empty nor a weight file:
/// somebody may need it.
inline void require_replaceable(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 16> start{};
  file.read(start.data(), start.size());
  const auto bytes =
      std::as_bytes(std::span(start.data(), static_cast<std::size_t>(file.gcount())));
  if (!bytes.empty() && q2l::detail::detect_file_kind(bytes) == q2l::detail::FileKind::other)
    throw Failure(ExitCode::usage, path + ": is there and is no model file; remove it first");
}

/// Tensors that checkpoints carry and models compute.
inline bool is_derived(std::string_view name) {
  return name == "backbone.1.pe" || name.ends_with(".num_batches_tracked") ||
         name.ends_with(".relative_position_index") || name.ends_with(".attn_mask");
}

/// The keys of the reference's configuration that say what a model is, complete.
inline nlohmann::json complete_document(const ModelFile& file) {
  const ModelConfig& config = file.config;
  const TransformerShape& shape = config.transformer;
  nlohmann::json document = {{"img_size", config.image_size},
                             {"hidden_dim", shape.width},
                             {"dim_feedforward", shape.feed_forward},
                             {"enc_layers", shape.encoder_layers},
                             {"dec_layers", shape.decoder_layers},
                             {"nheads", shape.heads},
                             {"num_class", shape.labels},
                             {"pre_norm", shape.pre_norm},
                             {"keep_first_self_attn_dec", shape.keep_first_self_attention},
                             {"keep_other_self_attn_dec", shape.keep_other_self_attention},
                             {"keep_input_proj", config.input_projection},
                             {"position_embedding", "sine"},
                             {"mean", config.normalization.mean},
                             {"std", config.normalization.std}};
  const bool named = std::ranges::any_of(named_backbones, [&](const NamedBackbone& known) {
    return known.name == config.backbone_name;
  });
  if (named) document["backbone"] = config.backbone_name;
  if (file.document->contains("backbone_arch"))
    document["backbone_arch"] = file.document->at("backbone_arch");
  return document;
}

/// An input of the model's own resolution; no answer yet.
inline SelfTest self_test_input(const Query2Label<>& model) {
  const std::size_t side = model.config().image_size;
  return {.seed = 1, .height = side, .width = side, .logits = {}};
}

/// What `model` answers to that. Throws non_finite_output where it is not a number: nobody could
/// use such a model.
inline std::vector<float> finite_answer(const Query2Label<>& model) {
  ThreadPool pool(machine_threads());
  std::vector<float> logits = self_test_answer(model, self_test_input(model), pool, pool.threads());
  if (!std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); }))
    throw Error(ErrorCode::non_finite_output, "the model's answer is not a number");
  return logits;
}

/// The input and what `model` answers, as metadata. `wide` is the answer of the model before it was
/// made narrow, if it was: where processors differ in how they multiply bf16, answers differ by
/// less than narrowing made of them.
inline std::string make_self_test(const std::vector<float>& wide, const Query2Label<>& model) {
  SelfTest test = self_test_input(model);
  const std::vector<float> logits = finite_answer(model);
  for (std::size_t k = 0; k < wide.size(); ++k) {
    test.bound = std::max(test.bound, std::abs(static_cast<double>(logits[k] - wide[k])));
  }
  const nlohmann::json document = {
      {"seed", test.seed},     {"shape", {1, 3, test.height, test.width}},
      {"offset", test.offset}, {"scale", test.scale},
      {"logits", logits},      {"bound", test.bound}};
  return document.dump();
}

/// A tensor's elements in row-major order: the file's own bytes where they lie so, else as f32 in
/// `made`.
inline TensorBytes bytes_of(const TensorEntry& entry, std::list<std::vector<float>>& made) {
  if (const auto bytes = entry.row_major_bytes()) {
    return {entry.name, entry.dtype, entry.shape, *bytes};
  }
  made.push_back(entry.read<float>());
  return {entry.name, Dtype::f32, entry.shape, std::as_bytes(std::span(made.back()))};
}

}  // namespace detail

/// Writes the model as one safetensors file that needs nothing beside it: configuration, labels,
/// thresholds, and an input with the model's answer. Elements keep their type unless a precision is
/// asked for, or are packed for this program's instruction set. The model is loaded first, and so
/// is a plain file that is written, so that a damaged one neither is written on nor replaces
/// another.
inline void run_convert(const ConvertOptions& options) {
  const std::string beside = q2l::detail::find_config_beside(options.model.model).string();
  for (const std::string& source :
       {options.model.model, options.model.config, options.model.labels, beside})
    if (const auto identity = identity_of(source);
        identity && identity == identity_of(options.output))
      throw Failure(ExitCode::usage, options.output + ": is read for the conversion");
  // Where it cannot be written, that is better known before the work.
  const std::string target = OutputFile(options.output).path();
  detail::require_replaceable(target);
  clean_up_on_signals([target] { detail::remove_unfinished(target); });
  const Tagger tagger =
      Tagger::load(options.model.model, tagger_options(options.model, {.self_test = true}));
  check_model(options.model, tagger);
  const ModelFile file = open_model(options.model);
  if (file.weights.source().packed)
    throw Error(ErrorCode::unsupported, "a packed file cannot be converted; convert the plain one",
                {.path = options.model.model});
  const bool keeps = !options.precision || *options.precision == file.weights.precision().all();
  if (!keeps && file.weights.precision().all() != Precision::f32)
    throw Failure(ExitCode::usage, options.model.model + ": is " +
                                       std::string(to_string(file.weights.precision().all())) +
                                       "; convert from an f32 model");

  const std::vector<float> wide = [&] {
    try {
      return detail::finite_answer(tagger.model());
    } catch (const Error& error) {
      throw error.in_file(options.model.model);
    }
  }();
  std::map<std::string, std::string> metadata = {
      {"format", "query2label"}, {"config", detail::complete_document(file).dump()}};
  metadata["labels"] = nlohmann::json(tagger.labels().names()).dump();
  if (!file.thresholds.empty()) metadata["thresholds"] = nlohmann::json(file.thresholds).dump();

  PrecisionConversion conversion(options);
  const PrecisionPlan plan = keeps ? file.weights.precision() : conversion.plan();
  if (plan.all() != Precision::f32) metadata["precision"] = to_json(plan)->dump();
  if (options.packed) {
    std::map<std::string, WeightMap::Shape> shapes;
    for (const std::string& name : file.weights.names())
      if (!detail::is_derived(name) && !name.ends_with("weight_scale"))
        shapes.emplace(name, file.weights.shape(name));
    ModelFile again = open_model(options.model);
    again.weights.set_precision(plan);
    const auto model = Query2Label<>::load(again.weights, again.config);
    metadata["self_test"] = detail::make_self_test(wide, model);
    return write_packed_file<float, simd::DefaultArch>(options.output, model, shapes,
                                                       std::move(metadata));
  }

  std::list<std::vector<float>> made;
  std::list<std::vector<std::byte>> narrowed;
  std::vector<TensorBytes> tensors;
  for (const std::string& name : file.weights.names()) {
    if (detail::is_derived(name)) continue;
    const TensorEntry& entry = file.weights.entry(name);
    if (!keeps && conversion.narrow(plan, name, entry, narrowed, tensors)) continue;
    tensors.push_back(detail::bytes_of(entry, made));
    tensors.back().name = name;
  }
  // What the file itself answers: weights that it holds narrow were rounded before they are folded.
  try {
    const detail::DraftFile draft(target);
    write_safetensors(draft.path(), tensors, metadata);
    ModelFile written = open_model_file(draft.path());
    const auto model = Query2Label<>::load(written.weights, written.config);
    metadata["self_test"] = detail::make_self_test(wide, model);
  } catch (const Error& error) {
    ErrorPlace place = error.place();
    place.path = options.output;  // the draft is gone
    throw Error(error.code(), error.detail(), std::move(place));
  }
  write_safetensors(options.output, tensors, metadata);
}

}  // namespace q2l::command
