// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"

namespace q2l {

/// The element types that weight files hold and this library reads.
enum class Dtype : std::uint8_t { f16, bf16, f32, f64, i64, i32, i16, i8, u8, boolean };

namespace detail {

struct DtypeRow {
  Dtype dtype;
  std::string_view name;  ///< as safetensors spells it
  std::size_t bytes;
};

/// In the order of the enumeration.
inline constexpr std::array<DtypeRow, 10> dtype_rows{{
    {Dtype::f16, "F16", 2},
    {Dtype::bf16, "BF16", 2},
    {Dtype::f32, "F32", 4},
    {Dtype::f64, "F64", 8},
    {Dtype::i64, "I64", 8},
    {Dtype::i32, "I32", 4},
    {Dtype::i16, "I16", 2},
    {Dtype::i8, "I8", 1},
    {Dtype::u8, "U8", 1},
    {Dtype::boolean, "BOOL", 1},
}};

}  // namespace detail

/// The name that safetensors and messages use, for example "BF16".
constexpr std::string_view to_string(Dtype dtype) noexcept {
  return detail::dtype_rows[static_cast<std::size_t>(dtype)].name;
}

/// Bytes of one element.
constexpr std::size_t size_of(Dtype dtype) noexcept {
  return detail::dtype_rows[static_cast<std::size_t>(dtype)].bytes;
}

/// The type whose elements are Ts.
template <class T>
constexpr Dtype dtype_of() noexcept {
  if constexpr (std::is_same_v<T, float>) {
    return Dtype::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return Dtype::f64;
  } else if constexpr (std::is_same_v<T, bfloat16>) {
    return Dtype::bf16;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return Dtype::i32;
  } else {
    static_assert(std::is_same_v<T, std::int8_t>);
    return Dtype::i8;
  }
}

/// The type of that exact name, or nothing.
constexpr std::optional<Dtype> dtype_named(std::string_view name) noexcept {
  for (const detail::DtypeRow& row : detail::dtype_rows)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

}  // namespace q2l
