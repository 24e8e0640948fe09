// SPDX-License-Identifier: MIT
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <query2label/core/bfloat16.hpp>

using q2l::bfloat16;
using q2l::to_bfloat16;

TEST_CASE("A float becomes the nearest bfloat16, ties to even", "[core]") {
  // Exhaustive in the upper bits; the lower ones around the tie.
  for (std::uint32_t upper = 0; upper < 0x7F7Fu; ++upper) {
    for (const std::uint32_t lower : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const std::uint32_t up = lower > 0x8000u || (lower == 0x8000u && upper % 2 == 1) ? 1 : 0;
      const bfloat16 rounded = to_bfloat16(std::bit_cast<float>(upper << 16 | lower));
      if (rounded.bits != upper + up) FAIL(upper << " " << lower);
    }
  }
  CHECK(to_bfloat16(-0.0f).bits == 0x8000);
  CHECK(static_cast<float>(to_bfloat16(-1.0f)) == -1.0f);
  CHECK(static_cast<double>(to_bfloat16(0.15625f)) == 0.15625);
}

TEST_CASE("bfloat16 keeps infinities and NaNs and overflows to infinity", "[core]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(static_cast<float>(to_bfloat16(infinity)) == infinity);
  CHECK(static_cast<float>(to_bfloat16(-infinity)) == -infinity);
  CHECK(static_cast<float>(to_bfloat16(std::numeric_limits<float>::max())) == infinity);
  CHECK(std::isnan(static_cast<float>(to_bfloat16(std::bit_cast<float>(0x7F800001u)))));
  CHECK(std::isnan(static_cast<float>(to_bfloat16(std::bit_cast<float>(0xFFFFFFFFu)))));
}
