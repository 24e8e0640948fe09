// SPDX-License-Identifier: MIT
#include "q2l/run_record.hpp"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

TEST_CASE("A large model is told from others by a part of every 32 KiB, a small one by all of it",
          "[command]") {
  const auto changed = [](std::vector<std::byte>& bytes, std::size_t at) {
    bytes[at] ^= std::byte{1};
    const std::uint32_t crc = q2l::command::detail::sample_crc32(bytes);
    bytes[at] ^= std::byte{1};
    return crc;
  };
  constexpr std::size_t kibi = 1024;
  std::vector<std::byte> large(17 * kibi * kibi);
  const std::uint32_t own = q2l::command::detail::sample_crc32(large);
  for (const std::size_t at : {std::size_t{0}, 2 * kibi - 1, 32 * kibi, 9 * kibi * kibi + 17,
                               16 * kibi * kibi, large.size() - 32 * kibi}) {
    CAPTURE(at);
    CHECK(changed(large, at) != own);
  }
  CHECK(changed(large, 0) != changed(large, 32 * kibi));
  CHECK(changed(large, 2 * kibi) == own);  // between two parts

  std::vector<std::byte> end(large.begin(), large.end() - 31 * kibi);  // ends within a part
  CHECK(changed(end, end.size() - 1) != q2l::command::detail::sample_crc32(end));

  std::vector<std::byte> small(40 * kibi);
  for (const std::size_t at : {3 * kibi, small.size() - 1})
    CHECK(changed(small, at) != q2l::command::detail::sample_crc32(small));
}
