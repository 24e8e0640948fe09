// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace q2l::test {

/// The characters of `text`, which must outlive the result, as bytes.
inline std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// `value` as it lies in a file.
template <std::unsigned_integral T>
std::string little_endian(T value) {
  std::string out;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out += static_cast<char>(value & 0xFFu);
    value = static_cast<T>(value >> 4 >> 4);
  }
  return out;
}

}  // namespace q2l::test
