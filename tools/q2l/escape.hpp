// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

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

/// With a fixed number of decimals, for people to read.
inline std::string fixed(double value, int decimals) {
  char digits[64];
  const auto end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, decimals).ptr;
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

/// `text` on one line: a backslash doubled, line ends, other control bytes and bytes that are not
/// UTF-8 as \n, \r and \xNN. `unescape_line` undoes it.
inline std::string escape_line(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode_utf8(text, at).length;
    const char c = text[at];
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += "\\x" + hex(text.substr(at, 1));
    } else {
      out += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
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

/// One field of a CSV line: escaped to one line, quoted where RFC 4180 asks for it.
inline std::string csv_field(std::string_view text) {
  const std::string line = escape_line(text);
  if (line.find_first_of(",\"") == std::string::npos) return line;
  std::string out = "\"";
  for (const char c : line) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace q2l::command
