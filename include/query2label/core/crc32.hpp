// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace q2l {
namespace detail {

/// Eight tables of 256: table[k][b] is the CRC of byte b followed by k zero bytes.
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_crc32_tables() {
  constexpr std::uint32_t reflected_polynomial = 0xEDB88320u;
  std::array<std::array<std::uint32_t, 256>, 8> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit)
      value = (value >> 1) ^ ((value & 1u) != 0 ? reflected_polynomial : 0u);
    table[0][byte] = value;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t byte = 0; byte < 256; ++byte)
      table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xFFu];
  return table;
}

inline constexpr std::array<std::array<std::uint32_t, 256>, 8> crc32_tables = make_crc32_tables();

}  // namespace detail

/// The CRC-32 of ZIP, PNG and gzip. Passing the result of one call as the `seed` of the next
/// continues it: crc32(b, crc32(a)) is the CRC of a followed by b.
constexpr std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t seed = 0) noexcept {
  const auto& table = detail::crc32_tables;
  const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(bytes[i]); };
  std::uint32_t crc = ~seed;
  std::size_t i = 0;
  for (; bytes.size() - i >= 8; i += 8) {
    const std::uint32_t low = crc ^ (at(i) | at(i + 1) << 8 | at(i + 2) << 16 | at(i + 3) << 24);
    crc = table[7][low & 0xFFu] ^ table[6][(low >> 8) & 0xFFu] ^ table[5][(low >> 16) & 0xFFu] ^
          table[4][low >> 24] ^ table[3][at(i + 4)] ^ table[2][at(i + 5)] ^ table[1][at(i + 6)] ^
          table[0][at(i + 7)];
  }
  for (; i < bytes.size(); ++i) crc = (crc >> 8) ^ table[0][(crc ^ at(i)) & 0xFFu];
  return ~crc;
}

}  // namespace q2l
