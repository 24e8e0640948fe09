// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "query2label/core/bfloat16.hpp"
#include "query2label/core/is_finite.hpp"
#include "query2label/weights/dtype.hpp"

namespace q2l::detail {

/// IEEE 754 binary16, as stored. Exact as a float; no step meets a subnormal float, so a host that
/// flushes them to zero gets the same value.
struct HalfBits {
  std::uint16_t bits;
  explicit operator float() const noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1Fu;
    const std::uint32_t fraction = bits & 0x3FFu;
    const std::uint32_t rebiased = exponent == 31 ? 255 : exponent + (127 - 15);
    const auto normal = std::bit_cast<float>(rebiased << 23 | fraction << 13);
    const float subnormal = static_cast<float>(fraction) * 0x1p-24f;
    const float magnitude = exponent == 0 ? subnormal : normal;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  explicit operator double() const noexcept {
    return static_cast<double>(static_cast<float>(*this));
  }
};

/// Calls `visit` with a value of the C++ type that an element of `dtype` has in a file.
template <class Visitor>
decltype(auto) visit_dtype(Dtype dtype, Visitor&& visit) {
  switch (dtype) {
    case Dtype::f16:
      return visit(HalfBits{});
    case Dtype::bf16:
      return visit(bfloat16{});
    case Dtype::f32:
      return visit(float{});
    case Dtype::f64:
      return visit(double{});
    case Dtype::i64:
      return visit(std::int64_t{});
    case Dtype::i32:
      return visit(std::int32_t{});
    case Dtype::i16:
      return visit(std::int16_t{});
    case Dtype::i8:
      return visit(std::int8_t{});
    case Dtype::u8:
    case Dtype::boolean:
      break;
  }
  return visit(std::uint8_t{});
}

/// to[i] = the element stored at from + i * stride_bytes, at any alignment, with at most one
/// rounding.
template <class Stored, std::floating_point T>
void convert_elements(const std::byte* from, std::size_t stride_bytes, std::size_t count,
                      T* to) noexcept {
  if constexpr (std::same_as<Stored, T>) {
    if (stride_bytes == sizeof(T)) {
      std::memcpy(to, from, count * sizeof(T));
      return;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, from + i * stride_bytes, sizeof(Stored));
    to[i] = static_cast<T>(value);
  }
}

/// The index of the first NaN or infinity among `count` values, or `count`.
template <std::floating_point T>
std::size_t find_non_finite(const T* values, std::size_t count) noexcept {
  bool all_finite = true;
  for (std::size_t i = 0; i < count; ++i) all_finite &= is_finite(values[i]);
  if (all_finite) return count;
  std::size_t first = 0;
  while (is_finite(values[first])) ++first;
  return first;
}

}  // namespace q2l::detail
