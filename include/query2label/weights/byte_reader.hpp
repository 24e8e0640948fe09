// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"

namespace q2l {

static_assert(std::endian::native == std::endian::little,
              "weight files are little-endian and are read in place");

/// a + b, or nothing where the sum does not fit.
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  if (b > std::numeric_limits<std::uint64_t>::max() - a) return std::nullopt;
  return a + b;
}

/// a * b, or nothing where the product does not fit.
constexpr std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) noexcept {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return std::nullopt;
  return a * b;
}

/// The same bytes seen as characters.
inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Walks over bytes that came from a file. Every step either succeeds inside the bytes or throws
/// `truncated`; offsets in errors count from the start of the file.
class ByteReader {
 public:
  /// `file_offset` is where `bytes` begins in its file.
  explicit ByteReader(std::span<const std::byte> bytes, std::uint64_t file_offset = 0) noexcept
      : bytes_(bytes), file_offset_(file_offset) {}

  /// Where the next byte lies in the file.
  [[nodiscard]] std::uint64_t offset() const noexcept { return file_offset_ + position_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }

  /// The next `count` bytes, which are then behind the reader.
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > remaining())
      throw Error(ErrorCode::truncated, "the data ends too early",
                  {.offset = offset(),
                   .expected = std::to_string(count) + " more bytes",
                   .actual = std::to_string(remaining())});
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  /// The next value, stored little-endian at any alignment.
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  /// The text up to the next newline, which is skipped; at most `longest` bytes, or limit_exceeded.
  std::string_view read_line(std::uint64_t longest) {
    const std::string_view rest = as_text(bytes_.subspan(position_));
    const std::size_t length = rest.substr(0, static_cast<std::size_t>(longest) + 1).find('\n');
    if (length == std::string_view::npos) {
      if (rest.size() > longest)
        throw Error(
            ErrorCode::limit_exceeded, "a line is too long",
            {.offset = offset(), .expected = "at most " + std::to_string(longest) + " bytes"});
      throw Error(ErrorCode::truncated, "a line does not end", {.offset = offset()});
    }
    position_ += length + 1;
    return rest.substr(0, length);
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::uint64_t file_offset_;
};

}  // namespace q2l
