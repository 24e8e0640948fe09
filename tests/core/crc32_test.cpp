// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <query2label/core/crc32.hpp>
#include <string_view>
#include <vector>

namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> out;
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
  return out;
}

/// One bit at a time, as the definition says.
std::uint32_t crc32_by_bits(const std::vector<std::byte>& bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

}  // namespace

TEST_CASE("CRC-32 gives the standard's check value and zero for nothing", "[core]") {
  CHECK(q2l::crc32(bytes_of("123456789")) == 0xCBF43926u);
  CHECK(q2l::crc32({}) == 0u);
}

TEST_CASE(
    "CRC-32 agrees with the bit-by-bit definition for every length up to 67, and can be continued",
    "[core]") {
  std::vector<std::byte> bytes;
  for (unsigned length = 0; length <= 67; ++length) {
    CAPTURE(length);
    const std::uint32_t expected = crc32_by_bits(bytes);
    CHECK(q2l::crc32(bytes) == expected);
    const std::span<const std::byte> all = bytes;
    const std::size_t cut = length / 3;
    CHECK(q2l::crc32(all.subspan(cut), q2l::crc32(all.first(cut))) == expected);
    bytes.push_back(static_cast<std::byte>(length * 37u + 11u));
  }
}
