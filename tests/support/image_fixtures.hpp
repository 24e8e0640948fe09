// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/crc32.hpp"

namespace q2l::test {

using Bytes = std::vector<std::byte>;

inline Bytes to_bytes(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// A file of tests/image/data, made by tools/make_image_fixtures.py.
inline std::filesystem::path image_fixture_path(const std::string& name) {
  return std::filesystem::path(Q2L_TESTS_DIR) / "image" / "data" / name;
}

inline Bytes image_fixture(const std::string& name) {
  std::ifstream file(image_fixture_path(name), std::ios::binary);
  if (!file) throw std::runtime_error("no image fixture " + name);
  return to_bytes(std::string(std::istreambuf_iterator<char>(file), {}));
}

/// One line of the fixtures' manifest.
struct ImageFixture {
  std::string name;
  int width, height, tolerance;
  std::string expected;  ///< file with the RGB bytes
};

inline std::vector<ImageFixture> image_fixtures() {
  std::ifstream file(image_fixture_path("manifest.txt"));
  std::vector<ImageFixture> all;
  for (ImageFixture one;
       file >> one.name >> one.width >> one.height >> one.tolerance >> one.expected;)
    all.push_back(one);
  return all;
}

inline Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

/// `value` in `count` bytes, the highest first.
inline Bytes big_endian(std::uint64_t value, std::size_t count) {
  Bytes out;
  for (std::size_t i = count; i-- > 0;) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  return out;
}

/// `value` in `count` bytes, the lowest first.
inline Bytes little_endian(std::uint64_t value, std::size_t count) {
  Bytes out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  return out;
}

/// A PNG chunk with the right checksum.
inline Bytes png_chunk(std::string_view name, const Bytes& data) {
  const Bytes body = to_bytes(name) + data;
  return big_endian(data.size(), 4) + body + big_endian(crc32(body), 4);
}

inline Bytes png_header(std::uint64_t width, std::uint64_t height, std::uint64_t depth,
                        std::uint64_t color_type) {
  return png_chunk("IHDR", big_endian(width, 4) + big_endian(height, 4) + big_endian(depth, 1) +
                               big_endian(color_type, 1) + Bytes(3));
}

inline Bytes png_signature() { return to_bytes("\x89PNG\r\n\x1a\n"); }

/// A JPEG segment: marker, length and content.
inline Bytes jpeg_segment(unsigned marker, const Bytes& content) {
  return big_endian(0xFF00u | marker, 2) + big_endian(content.size() + 2, 2) + content;
}

/// Where the first `marker` segment of a JPEG starts, before any entropy-coded data.
inline std::size_t jpeg_find(const Bytes& file, unsigned marker) {
  std::size_t at = 2;
  while (at + 4 <= file.size() && file[at] == std::byte{0xFF}) {
    if (static_cast<unsigned>(file[at + 1]) == marker) return at;
    if (file[at + 1] == std::byte{0xDA}) break;
    at +=
        2 + (static_cast<std::size_t>(file[at + 2]) << 8 | static_cast<std::size_t>(file[at + 3]));
  }
  throw std::runtime_error("the JPEG has no such segment before its data");
}

/// The file without its first `marker` segment.
inline Bytes jpeg_without(Bytes file, unsigned marker) {
  const std::size_t at = jpeg_find(file, marker);
  const std::size_t length =
      2 + (static_cast<std::size_t>(file[at + 2]) << 8 | static_cast<std::size_t>(file[at + 3]));
  const auto first = file.begin() + static_cast<std::ptrdiff_t>(at);
  file.erase(first, first + static_cast<std::ptrdiff_t>(length));
  return file;
}

/// The file with `inserted` before its first `marker` segment.
inline Bytes jpeg_before(Bytes file, unsigned marker, const Bytes& inserted) {
  file.insert(file.begin() + static_cast<std::ptrdiff_t>(jpeg_find(file, marker)), inserted.begin(),
              inserted.end());
  return file;
}

}  // namespace q2l::test
