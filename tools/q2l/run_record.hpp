// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "q2l/exit_code.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/result_output.hpp"
#include "query2label/core/crc32.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/core/read_file.hpp"
#include "query2label/tagger.hpp"
#include "query2label/version.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/mapped_file.hpp"

namespace q2l::command {
namespace detail {

/// The CRC of 64 blocks of a file, spread evenly: other weights differ everywhere, and reading a
/// whole checkpoint would take longer than tagging a picture.
inline std::uint32_t sample_crc32(std::span<const std::byte> bytes) {
  constexpr std::size_t blocks = 64, block = std::size_t{64} << 10;
  if (bytes.size() <= blocks * block) return crc32(bytes);
  std::uint32_t crc = 0;
  for (std::size_t i = 0; i < blocks; ++i)
    crc = crc32(bytes.subspan((bytes.size() - block) / (blocks - 1) * i, block), crc);
  return crc;
}

}  // namespace detail

/// What decides the lines of a run, beside its pictures.
inline nlohmann::json describe_run(const TagOptions& options, const Tagger& tagger) {
  const MappedFile model(options.model.model);
  const std::string version = std::to_string(q2l::version.major) + '.' +
                              std::to_string(q2l::version.minor) + '.' +
                              std::to_string(q2l::version.patch);
  nlohmann::json run = {{"q2l", version},
                        {"model", {model.bytes().size(), detail::sample_crc32(model.bytes())}},
                        {"labels", tagger.labels().names()},
                        {"thresholds", tagger.thresholds()},
                        {"scores", options.all_scores ? "all" : "tags"},
                        {"orient", options.orient}};
  if (options.threshold) run["threshold"] = *options.threshold;
  if (options.best) run["top-k"] = *options.best;
  if (options.model.precision) run["precision"] = to_string(*options.model.precision);
  return run;
}

/// Keeps the description of a run beside its output, in OUTPUT.run. Where the output has lines
/// already, the run that wrote them must have been the same: a Failure says in what it was not.
inline void keep_run_record(const ResultOutput& output, const nlohmann::json& run) {
  const std::string path = output.name() + ".run";
  if (output.size() == 0) {
    const std::string text = run.dump() + '\n';
    return write_file(path, std::as_bytes(std::span(text)));
  }
  if (!std::filesystem::exists(path))
    return say(path + ": is missing; nothing tells whether the same model wrote " + output.name());
  const std::vector<std::byte> bytes = read_file(path, Limits{}.json_bytes);
  const JsonDocument before =
      parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
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
}

}  // namespace q2l::command
