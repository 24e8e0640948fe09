// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/read_file.hpp"
#include "query2label/core/utf8.hpp"
#include "query2label/labels/label_set.hpp"

namespace q2l {
namespace detail {

/// Walks the lines of a label file: ended by LF or CRLF, the byte order mark and blank lines at the
/// end left out. Checks the characters of each line it hands out.
class LabelLines {
 public:
  LabelLines(std::string_view text, const Limits& limits) : text_(text) {
    if (text.size() > limits.label_file_bytes)
      throw Error(ErrorCode::limit_exceeded, "the label file is too large",
                  {.expected = "at most " + std::to_string(limits.label_file_bytes) + " bytes",
                   .actual = std::to_string(text.size())});
    at_ = text_.size() - without_byte_order_mark(text_).size();
    const std::size_t last = text_.find_last_not_of(" \t\r\n");
    end_ = last == std::string_view::npos ? at_ : text_.find('\n', last);
    if (end_ > text_.size()) end_ = text_.size();
  }

  /// Takes the next line; false when none is left. Throws bad_encoding and, for a blank line,
  /// bad_labels.
  bool next(std::string_view& line) {
    if (at_ >= end_) return false;
    const std::size_t begin = at_;
    const std::size_t newline = text_.find('\n', begin);
    const std::size_t stop = newline < end_ ? newline : end_;
    at_ = stop + 1;
    ++number_;
    line = text_.substr(begin, stop - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    require_printable(line, begin);
    if (line.find_first_not_of(' ') == std::string_view::npos)
      throw Error(ErrorCode::bad_labels, "a blank line between labels",
                  {.offset = begin, .subject = place()});
    return true;
  }

  /// The line last taken, as messages name it.
  [[nodiscard]] std::string place() const { return "line " + std::to_string(number_); }

 private:
  void require_printable(std::string_view line, std::size_t begin) const {
    for (std::size_t at = 0; at < line.size();) {
      const auto [code, length] = decode_utf8(line, at);
      if (length == 0 || is_control(code))
        throw Error(
            ErrorCode::bad_encoding, length == 0 ? "not UTF-8 text" : "a control character",
            {.offset = begin + at, .subject = place() + ", column " + std::to_string(at + 1)});
      at += length;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::size_t number_ = 0;
};

/// Splits one CSV line (RFC 4180; a quoted field ends on its line, for labels have no line breaks).
/// What stands behind the first `most` fields is left out.
inline std::vector<std::string> split_csv(
    std::string_view line, const std::string& place,
    std::size_t most = std::numeric_limits<std::size_t>::max()) {
  std::vector<std::string> fields(1);
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == ',') {
      if (fields.size() == most) break;
      fields.emplace_back();
    } else if (line[at] != '"') {
      fields.back() += line[at];
    } else {
      if (!fields.back().empty())
        throw Error(ErrorCode::bad_labels, "a quote inside a field", {.subject = place});
      for (++at; at < line.size(); ++at) {
        if (line[at] != '"')
          fields.back() += line[at];
        else if (at + 1 < line.size() && line[at + 1] == '"')
          fields.back() += line[at++];
        else
          break;
      }
      const bool closed = at < line.size() && (at + 1 == line.size() || line[at + 1] == ',');
      if (!closed)
        throw Error(ErrorCode::bad_labels, "a quote without its partner", {.subject = place});
    }
  }
  return fields;
}

inline void require_label_room(std::size_t labels, const Limits& limits) {
  if (labels >= limits.labels)
    throw Error(ErrorCode::limit_exceeded, "too many labels",
                {.expected = "at most " + std::to_string(limits.labels)});
}

inline void require_labels(const std::vector<std::string>& names) {
  if (names.empty()) throw Error(ErrorCode::bad_labels, "no labels in the file");
}

}  // namespace detail

/// Reads labels from UTF-8 text, one a line in the model's order. A byte order mark, CRLF and blank
/// lines at the end are fine. Throws, naming the line: bad_encoding (not UTF-8, or a control
/// character as `is_control` has it; columns count bytes), bad_labels (blank line in between, no
/// label at all), duplicate_name, limit_exceeded.
inline LabelSet parse_label_text(std::string_view text, const Limits& limits = {}) {
  detail::LabelLines lines(text, limits);
  std::vector<std::string> names;
  for (std::string_view line; lines.next(line);) {
    detail::require_label_room(names.size(), limits);
    names.emplace_back(line);
  }
  detail::require_labels(names);
  return LabelSet(std::move(names), {.unit = "line", .first = 1});
}

/// Reads labels from CSV lines `id,name`, ids 0, 1, 2 and so on, a heading allowed. Errors as
/// parse_label_text; bad_labels too for an id out of turn, a line that has not two fields, and a
/// quote left open.
inline LabelSet parse_label_csv(std::string_view text, const Limits& limits = {}) {
  detail::LabelLines lines(text, limits);
  std::vector<std::string> names;
  bool heading = false;
  for (std::string_view line; lines.next(line);) {
    detail::require_label_room(names.size(), limits);
    std::vector<std::string> fields = detail::split_csv(line, lines.place(), 3);
    if (fields.size() != 2)
      throw Error(ErrorCode::bad_labels, "not a line of two fields",
                  {.subject = lines.place(),
                   .expected = "id,name",
                   .actual = fields.size() == 1 ? "1 field" : "more fields"});
    const bool numeric =
        !fields[0].empty() && fields[0].find_first_not_of("0123456789") == std::string::npos;
    if (names.empty() && !heading && !numeric) {
      heading = true;
      continue;
    }
    if (fields[0] != std::to_string(names.size()))
      throw Error(ErrorCode::bad_labels, "an id out of turn",
                  {.subject = lines.place(),
                   .expected = std::to_string(names.size()),
                   .actual = fields[0]});
    names.push_back(std::move(fields[1]));
  }
  detail::require_labels(names);
  return LabelSet(std::move(names), {.unit = "line", .first = heading ? 2u : 1u});
}

/// Reads a label file: CSV if its name ends in .csv or .CSV, else plain text. Errors of the
/// parsers, with the path, and of read_file.
inline LabelSet read_label_file(const std::filesystem::path& path, const Limits& limits = {}) {
  const std::vector<std::byte> bytes = read_file(path, limits.label_file_bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  try {
    const bool is_csv = path.extension() == ".csv" || path.extension() == ".CSV";
    return is_csv ? parse_label_csv(text, limits) : parse_label_text(text, limits);
  } catch (const Error& error) {
    throw error.in_file(path.native());
  }
}

}  // namespace q2l
