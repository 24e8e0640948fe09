// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"

namespace q2l::detail {

/// Bounded reading from a picture's file: every access is checked and fails as image_truncated.
class ImageBytes {
 public:
  explicit ImageBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

  /// The `count` bytes from `at`.
  [[nodiscard]] std::span<const std::byte> slice(std::size_t at, std::size_t count) const {
    if (at > size() || count > size() - at)
      throw Error(ErrorCode::image_truncated,
                  "the picture is cut off; the file is probably incomplete",
                  {.offset = std::min(at, size()),
                   .expected = std::to_string(count) + " bytes at " + std::to_string(at),
                   .actual = "a file of " + std::to_string(size())});
    return bytes_.subspan(at, count);
  }

  [[nodiscard]] std::uint32_t u8(std::size_t at) const { return little_endian(at, 1); }
  [[nodiscard]] std::uint32_t le16(std::size_t at) const { return little_endian(at, 2); }
  [[nodiscard]] std::uint32_t le32(std::size_t at) const { return little_endian(at, 4); }
  [[nodiscard]] std::uint32_t be16(std::size_t at) const { return big_endian(at, 2); }
  [[nodiscard]] std::uint32_t be32(std::size_t at) const { return big_endian(at, 4); }

  /// Whether `text` stands at `at`, wholly inside the file.
  [[nodiscard]] bool has(std::size_t at, std::string_view text) const noexcept {
    if (at > size() || text.size() > size() - at) return false;
    for (std::size_t i = 0; i < text.size(); ++i)
      if (bytes_[at + i] != static_cast<std::byte>(text[i])) return false;
    return true;
  }

 private:
  [[nodiscard]] std::uint32_t little_endian(std::size_t at, std::size_t count) const {
    const auto field = slice(at, count);
    std::uint32_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = value << 8 | static_cast<std::uint32_t>(field[i]);
    return value;
  }
  [[nodiscard]] std::uint32_t big_endian(std::size_t at, std::size_t count) const {
    std::uint32_t value = 0;
    for (const std::byte byte : slice(at, count))
      value = value << 8 | static_cast<std::uint32_t>(byte);
    return value;
  }

  std::span<const std::byte> bytes_;
};

/// Throws bad_image for an empty picture and image_too_large for one beyond the limits. Decoding a
/// pixel takes `cost` times the memory of a usual one.
inline void check_dimensions(std::uint64_t width, std::uint64_t height, const Limits& limits,
                             std::size_t offset, std::uint64_t cost = 1) {
  const std::uint64_t most = limits.image_pixels / cost;
  const std::string actual = std::to_string(width) + " x " + std::to_string(height);
  if (width == 0 || height == 0)
    throw Error(ErrorCode::bad_image, "a side is zero", {.offset = offset, .actual = actual});
  if (width > limits.image_side || height > limits.image_side || width * height > most)
    throw Error(ErrorCode::image_too_large, "the picture has too many pixels",
                {.offset = offset,
                 .expected = "sides of at most " + std::to_string(limits.image_side) + " and " +
                             std::to_string(most) + " pixels in all",
                 .actual = actual});
}

}  // namespace q2l::detail
