// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "q2l/exit_code.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/record.hpp"
#include "q2l/result_output.hpp"
#include "q2l/version_number.hpp"
#include "query2label/core/crc32.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/core/read_file.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/tagger.hpp"
#include "query2label/weights/file_kind.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/mapped_file.hpp"
#include "query2label/weights/safetensors.hpp"

namespace q2l::command {
namespace detail {

/// The CRC of a part of every 32 KiB of a file: weights that were trained on differ in every
/// tensor, and reading a whole checkpoint would take longer than tagging a picture.
inline std::uint32_t sample_crc32(std::span<const std::byte> bytes) {
  constexpr std::size_t step = std::size_t{32} << 10, part = std::size_t{2} << 10;
  constexpr std::size_t whole = std::size_t{16} << 20;
  if (bytes.size() <= whole) return crc32(bytes);
  std::uint32_t crc = 0;
  for (std::size_t at = 0; at < bytes.size(); at += step)
    crc = crc32(bytes.subspan(at, std::min(part, bytes.size() - at)), crc);
  return crc;
}

/// The CRC of the configuration that a model, whose `bytes` these are, is read with, where that is
/// a file of its own.
inline std::optional<std::uint32_t> config_crc32(const ModelOptions& model,
                                                 std::span<const std::byte> bytes) {
  std::filesystem::path path = model.config;
  const bool has_own = q2l::detail::detect_file_kind(bytes) == q2l::detail::FileKind::safetensors &&
                       parse_safetensors(bytes).metadata.contains("config");
  if (path.empty() && !has_own) path = q2l::detail::find_config_beside(model.model);
  if (path.empty()) return std::nullopt;
  return crc32(read_file(path, Limits{}.json_bytes));
}

}  // namespace detail

/// What decides the lines of a run, beside its pictures.
inline nlohmann::json describe_run(const TagOptions& options, const Tagger& tagger) {
  const MappedFile model(options.model.model);
  nlohmann::json run = {{"q2l", version_number()},
                        {"model", {model.bytes().size(), detail::sample_crc32(model.bytes())}},
                        {"labels", tagger.labels().names()},
                        {"thresholds", tagger.thresholds()},
                        {"format", to_string(options.format)},
                        {"scores", options.all_scores ? "all" : "tags"},
                        {"orient", options.orient}};
  if (const auto crc = detail::config_crc32(options.model, model.bytes())) run["config"] = *crc;
  if (options.threshold) run["threshold"] = *options.threshold;
  if (options.best) run["top-k"] = *options.best;
  if (!options.heat_maps.empty()) run["heat-maps"] = options.heat_maps;
  if (!options.model.state_dict.empty()) run["state-dict"] = options.model.state_dict;
  if (options.model.precision) run["precision"] = to_string(*options.model.precision);
  return run;
}

/// Keeps the description of a run beside its output, in OUTPUT.run, and returns whether the output
/// is known to be such a run's. Where it has lines already, the run that wrote them must have been
/// the same: a Failure says in what it was not.
inline bool keep_run_record(const ResultOutput& output, const nlohmann::json& run) {
  const std::string path = output.name() + ".run";
  std::error_code error;
  const bool exists = std::filesystem::exists(path, error);
  if (error) throw Failure(ExitCode::output, path + ": " + error.message());
  JsonDocument before;
  if (exists) {
    try {
      const std::vector<std::byte> bytes = read_file(path, Limits{}.json_bytes);
      before = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
    } catch (const Error&) {
    }
    if (!before->is_object() || !before->contains("q2l"))
      throw Failure(ExitCode::usage, path + ": is not the record of a run; it stands in the way");
  }
  if (output.size() == 0) {
    const std::string text = run.dump() + '\n';
    write_file(path, std::as_bytes(std::span(text)));
    return true;
  }
  if (!exists) {
    say(path + ": is missing; nothing tells whether the same model wrote " + output.name());
    return false;
  }
  std::set<std::string> changed;
  for (const nlohmann::json& change : nlohmann::json::diff(*before, run)) {
    const std::string pointer = change.at("path").get<std::string>();
    changed.insert(pointer.substr(1, pointer.find('/', 1) - 1));
  }
  std::string differences;
  for (const std::string& key : changed) differences += (differences.empty() ? "" : ", ") + key;
  if (!differences.empty())
    throw Failure(ExitCode::usage, output.name() + ": was written by another run (" + differences +
                                       "); it cannot be resumed");
  return true;
}

}  // namespace q2l::command
