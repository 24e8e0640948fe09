// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace q2l {

/// Whether `value` is neither NaN nor infinite. Looks at its bits, so it also works in programs
/// compiled with -ffast-math, where std::isfinite may be taken for true.
template <std::floating_point T>
constexpr bool is_finite(T value) noexcept {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits exponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
  return (std::bit_cast<Bits>(value) & exponent) != exponent;
}

}  // namespace q2l
