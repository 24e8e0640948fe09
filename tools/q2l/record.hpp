// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/escape.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/fixed_decimals.hpp"
#include "query2label/core/utf8.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {

enum class Format { text, jsonl, csv };

/// The name of a format as the command line has it.
constexpr std::string_view to_string(Format format) noexcept {
  switch (format) {
    case Format::text:
      return "text";
    case Format::jsonl:
      return "jsonl";
    case Format::csv:
      break;
  }
  return "csv";
}

/// What is known of one picture after tagging.
struct Record {
  std::string path;
  int width = 0;
  int height = 0;
  std::vector<Tag> tags;          ///< best first
  std::span<const float> scores;  ///< [K]
};

/// Turns results into lines. Each picture is one line, ended by LF, whatever its path holds.
///
/// jsonl: {"path","width","height","tags":[{"label","score"}...]}, with all scores also "scores"
/// with every label in the model's order; a failure is {"path","error":{"code","message"}}. A path
/// that is not UTF-8 has its exact bytes in "path_bytes", in hexadecimal. csv: path, width, height,
/// tags and their scores (each joined by ";", which within a label is \x3b), error and, with all
/// scores, a column a label. Paths and labels keep to one line by the escapes \n, \r, \xNN and a
/// doubled backslash. text: "PATH: LABEL 0.987, LABEL 0.654" for people; with all scores every
/// label in the model's order. A failure has no line of its own, standard error tells it.
class RecordLines {
 public:
  RecordLines(Format format, LabelSet labels, bool all_scores)
      : format_(format), labels_(std::move(labels)), all_scores_(all_scores) {}

  [[nodiscard]] Format format() const noexcept { return format_; }

  /// The line that opens the output: the column names of csv, nothing otherwise.
  [[nodiscard]] std::string heading() const {
    if (format_ != Format::csv) return {};
    std::string line = "path,width,height,tags,scores,error";
    if (all_scores_)
      for (const std::string& label : labels_) line += ',' + csv_field(label);
    return line + '\n';
  }

  [[nodiscard]] std::string result(const Record& record) const {
    switch (format_) {
      case Format::jsonl:
        return json(record);
      case Format::csv:
        return csv(record);
      case Format::text:
        break;
    }
    return text(record);
  }

  /// The line of a picture that could not be tagged; empty for text.
  [[nodiscard]] std::string failure(std::string_view path, const Error& error) const {
    if (format_ == Format::text) return {};
    ErrorPlace place = error.place();
    place.path.clear();
    std::string message = Error(error.code(), error.detail(), place).what();
    const std::string code(to_string(error.code()));
    if (const std::string suffix = " [" + code + "]"; message.ends_with(suffix))
      message.resize(message.size() - suffix.size());
    if (format_ == Format::jsonl)
      return "{" + json_path(path) + ",\"error\":{\"code\":" + json_string(code) +
             ",\"message\":" + json_string(message) + "}}\n";
    std::string line = csv_field(path) + ",,,,," + csv_field(code + ": " + message);
    if (all_scores_) line.append(labels_.size(), ',');
    return line + '\n';
  }

 private:
  static std::string json_path(std::string_view path) {
    std::string out = "\"path\":" + json_string(path);
    if (find_invalid_utf8(path) != std::string_view::npos)
      out += ",\"path_bytes\":\"" + hex(path) + '"';
    return out;
  }

  [[nodiscard]] std::string json_score(std::size_t label, float score) const {
    return "{\"label\":" + json_string(labels_[label]) + ",\"score\":" + shortest(score) + "}";
  }

  [[nodiscard]] std::string json(const Record& record) const {
    std::string line = "{" + json_path(record.path) + ",\"width\":" + std::to_string(record.width) +
                       ",\"height\":" + std::to_string(record.height) + ",\"tags\":[";
    for (const Tag& tag : record.tags) {
      if (line.back() != '[') line += ',';
      line += json_score(tag.index, tag.score);
    }
    line += ']';
    if (all_scores_) {
      line += ",\"scores\":[";
      for (std::size_t k = 0; k < record.scores.size(); ++k)
        line += (k == 0 ? "" : ",") + json_score(k, record.scores[k]);
      line += ']';
    }
    return line + "}\n";
  }

  [[nodiscard]] std::string csv(const Record& record) const {
    std::string names;
    std::string scores;
    for (const Tag& tag : record.tags) {
      const std::string_view separator = names.empty() && scores.empty() ? "" : ";";
      names += separator;
      names += escape_item(tag.label);
      scores += separator;
      scores += shortest(tag.score);
    }
    std::string line = csv_field(record.path) + ',' + std::to_string(record.width) + ',' +
                       std::to_string(record.height) + ',' + csv_quoted(names) + ',' + scores + ',';
    if (all_scores_)
      for (const float score : record.scores) line += ',' + shortest(score);
    return line + '\n';
  }

  [[nodiscard]] std::string text(const Record& record) const {
    std::string line = escape_line(record.path) + ":";
    std::string_view separator = " ";
    const auto add = [&](std::size_t label, float score) {
      line += separator;
      line += escape_line(labels_[label]) + ' ' + fixed_decimals(score, 3);
      separator = ", ";
    };
    if (all_scores_)
      for (std::size_t k = 0; k < record.scores.size(); ++k) add(k, record.scores[k]);
    else if (record.tags.empty())
      line += " (no label reaches its threshold)";
    else
      for (const Tag& tag : record.tags) add(tag.index, tag.score);
    return line + '\n';
  }

  Format format_;
  LabelSet labels_;
  bool all_scores_;
};

}  // namespace q2l::command
