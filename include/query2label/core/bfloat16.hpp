// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace q2l {

/// bfloat16: the upper half of a float, so its range with 8 bits of precision (unit roundoff 2^-8).
struct bfloat16 {
  std::uint16_t bits;

  explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  explicit operator double() const noexcept {
    return static_cast<double>(static_cast<float>(*this));
  }
  bool operator==(const bfloat16&) const = default;
};

/// The nearest bfloat16, ties to even; a NaN stays one.
inline bfloat16 to_bfloat16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

/// The same, but what lies beyond the largest bfloat16 (3.39e38) becomes that: for weights, which
/// are finite.
inline bfloat16 to_finite_bfloat16(float value) noexcept {
  constexpr float most = 0x1.FEp127f;
  return to_bfloat16(std::clamp(value, -most, most));
}

}  // namespace q2l
