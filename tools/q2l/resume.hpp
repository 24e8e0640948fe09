// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/exit_code.hpp"
#include "q2l/record.hpp"
#include "q2l/result_output.hpp"
#include "query2label/core/error.hpp"
#include "query2label/labels/label_file.hpp"
#include "query2label/weights/json_document.hpp"

namespace q2l::command {

/// What an interrupted run left behind.
struct FinishedWork {
  std::unordered_multiset<std::string> paths;  ///< of lines, of tagged and of failed pictures
  std::size_t failed = 0;                      ///< of these
  std::size_t foreign_lines = 0;               ///< that are no records; they stay as they are
  std::size_t first_foreign_line = 0;          ///< its number, from 1
  std::size_t torn_bytes = 0;                  ///< cut from the end, where a line was not complete
  bool heading = false;                        ///< whether the heading stands already
};

/// What a line says of a picture.
struct PictureRecord {
  std::string path;
  bool has_failed;
};

/// What a line of jsonl (without its LF) says; nothing if it is no record.
inline std::optional<PictureRecord> read_json_record(std::string_view line) try {
  const JsonDocument document = parse_json(line, "");
  const nlohmann::json& record = *document;
  if (!record.is_object() || !record.contains("path") || !record["path"].is_string())
    return std::nullopt;
  if (!record.contains("tags") && !record.contains("error")) return std::nullopt;
  std::optional<std::string> path = record["path"].get<std::string>();
  if (record.contains("path_bytes")) {
    if (!record["path_bytes"].is_string()) return std::nullopt;
    path = from_hex(record["path_bytes"].get<std::string>());
  }
  if (!path) return std::nullopt;
  return PictureRecord{std::move(*path), record.contains("error")};
} catch (const Error&) {
  return std::nullopt;
}

/// What a line of csv (without its LF) says; nothing if it has not `columns` fields.
inline std::optional<PictureRecord> read_csv_record(std::string_view line,
                                                    std::size_t columns) try {
  constexpr std::size_t error = 5;  // as RecordLines::heading has it
  const std::vector<std::string> fields = q2l::detail::split_csv(line, {});
  if (fields.size() != columns || columns <= error || fields[0].empty()) return std::nullopt;
  std::optional<std::string> path = unescape_line(fields[0]);
  if (!path) return std::nullopt;
  return PictureRecord{std::move(*path), !fields[error].empty()};
} catch (const Error&) {
  return std::nullopt;
}

/// Reads the records that `output` holds and cuts a torn last line off. Throws a Failure if the
/// file's heading has other columns than this run would write, if it cannot be read, or if it holds
/// no record and is not known to be ours: then it is someone's file, named by mistake.
inline FinishedWork resume_work(ResultOutput& output, const RecordLines& lines, bool is_ours) {
  FinishedWork work;
  std::string heading = lines.heading();
  const bool has_heading = !heading.empty();
  if (has_heading) heading.pop_back();
  const std::size_t columns = has_heading ? q2l::detail::split_csv(heading, {}).size() : 0;

  std::size_t number = 0;
  const auto take = [&](std::string_view line) {
    ++number;
    if (number == 1 && has_heading) {
      if (line != heading)
        throw Failure(
            ExitCode::usage,
            output.name() + ": has other columns than this run would write; it cannot be resumed");
      work.heading = true;
      return;
    }
    auto record = has_heading ? read_csv_record(line, columns) : read_json_record(line);
    if (record) {
      work.paths.insert(std::move(record->path));
      if (record->has_failed) ++work.failed;
    } else if (work.foreign_lines++ == 0) {
      work.first_foreign_line = number;
    }
  };

  std::string pending;  // from the end of the last complete line
  std::vector<char> block(std::size_t{1} << 20);
  off_t at = 0;
  while (at < output.size()) {
    const ssize_t count = ::pread(output.descriptor(), block.data(), block.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      throw Failure(ExitCode::output, output.name() + ": cannot read: " +
                                          std::generic_category().message(count < 0 ? errno : EIO));
    at += count;
    pending.append(block.data(), static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1)
      take(std::string_view(pending).substr(begin, end - begin));
    pending.erase(0, begin);
  }
  if (at > 0 && !is_ours && work.paths.empty() && !work.heading)
    throw Failure(ExitCode::usage,
                  output.name() + ": holds no results of an earlier run; it cannot be resumed");
  work.torn_bytes = pending.size();
  if (work.torn_bytes > 0) output.cut_to(at - static_cast<off_t>(work.torn_bytes));
  return work;
}

}  // namespace q2l::command
