// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

namespace q2l {

/// One decoded character; `length` is 0 where the bytes are not UTF-8.
struct Utf8Character {
  char32_t code = 0;
  std::size_t length = 0;  ///< bytes
};

/// The character that begins at byte `at` of `text` (at < text.size()). Refuses what RFC 3629
/// forbids: overlong forms, surrogates, codes above U+10FFFF and cut sequences.
constexpr Utf8Character decode_utf8(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i]));
  };
  const char32_t lead = byte(at);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < length) return {};
  char32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const char32_t next = byte(at + i);
    if ((next & 0xC0u) != 0x80) return {};
    code = (code << 6) | (next & 0x3Fu);
  }
  constexpr char32_t smallest[] = {0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest[length - 2] || surrogate || code > 0x10FFFF) return {};
  return {code, length};
}

/// Whether a byte continues a character that began before it.
constexpr bool continues_character(char c) noexcept {
  return (static_cast<unsigned char>(c) & 0xC0u) == 0x80;
}

/// The beginning of `text` of at most `most` bytes, cut where a character ends.
constexpr std::string_view utf8_prefix(std::string_view text, std::size_t most) noexcept {
  if (text.size() <= most) return text;
  while (most > 0 && continues_character(text[most])) --most;
  return text.substr(0, most);
}

/// `text` less the byte order mark that some editors put at its beginning.
constexpr std::string_view without_byte_order_mark(std::string_view text) noexcept {
  constexpr std::string_view mark = "\xEF\xBB\xBF";
  if (text.starts_with(mark)) text.remove_prefix(mark.size());
  return text;
}

/// The byte where `text` stops being UTF-8, or npos if all of it is.
constexpr std::size_t find_invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode_utf8(text, at).length;
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

}  // namespace q2l
