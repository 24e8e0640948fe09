// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"
#include "query2label/core/utf8.hpp"
#include "query2label/weights/json_document.hpp"

namespace q2l::command {

constexpr std::string_view hex_digits = "0123456789abcdef";

/// The shortest decimal that reads back to the same float, in any locale.
inline std::string shortest(float value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  return {digits, end};
}

/// `bytes` in hexadecimal.
inline std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += hex_digits[byte >> 4];
    out += hex_digits[byte & 15];
  }
  return out;
}

/// `text` as a JSON string with its quotes. Always valid UTF-8: bytes that are not become U+FFFD.
inline std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// `text` on one line: a backslash doubled, line ends, the bytes of other control characters
/// (is_control) and those that are not UTF-8 as \n, \r and \xNN. `unescape_line` undoes it.
inline std::string escape_line(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character character = decode_utf8(text, at);
    const std::string_view bytes = text.substr(at, std::max<std::size_t>(character.length, 1));
    at += bytes.size();
    if (bytes == "\\") {
      out += "\\\\";
    } else if (bytes == "\n") {
      out += "\\n";
    } else if (bytes == "\r") {
      out += "\\r";
    } else if (character.length == 0 || is_control(character.code)) {
      for (std::size_t i = 0; i < bytes.size(); ++i) out += "\\x" + hex(bytes.substr(i, 1));
    } else {
      out += bytes;
    }
  }
  return out;
}

/// `escape_line` for an item of a list that ";" joins: one within it is \x3b.
inline std::string escape_item(std::string_view text) {
  std::string out;
  for (const char c : escape_line(text)) {
    if (c == ';')
      out += "\\x3b";
    else
      out += c;
  }
  return out;
}

/// The bytes that `hex` wrote; nothing if it did not write them.
inline std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t at = 0; at < digits.size(); at += 2) {
    const std::size_t high = hex_digits.find(digits[at]);
    const std::size_t low = hex_digits.find(digits[at + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

/// The text that `escape_line` wrote; nothing if it did not write it.
inline std::optional<std::string> unescape_line(std::string_view line) {
  std::string out;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] != '\\') {
      out += line[at];
      continue;
    }
    if (++at == line.size()) return std::nullopt;
    if (line[at] == '\\') {
      out += '\\';
    } else if (line[at] == 'n') {
      out += '\n';
    } else if (line[at] == 'r') {
      out += '\r';
    } else {
      const auto byte =
          line[at] == 'x' && line.size() - at > 2 ? from_hex(line.substr(at + 1, 2)) : std::nullopt;
      if (!byte) return std::nullopt;
      out += *byte;
      at += 2;
    }
  }
  return out;
}

/// One field of a CSV line, of text without line ends: quoted where RFC 4180 asks for it.
inline std::string csv_quoted(std::string_view line) {
  if (line.find_first_of(",\"") == std::string::npos) return std::string(line);
  std::string out = "\"";
  for (const char c : line) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

/// One field of a CSV line: any text, escaped to one line.
inline std::string csv_field(std::string_view text) { return csv_quoted(escape_line(text)); }

}  // namespace q2l::command
