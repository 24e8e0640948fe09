// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/counter_random.hpp"
#include "query2label/core/precision.hpp"

namespace q2l::benchmarks {

/// Numbers between -1 and 1, in memory as activations have it (pages of 2 MiB).
inline AlignedBuffer<float> made_up(std::size_t size, std::string_view name = "input") {
  AlignedBuffer<float> values(size);
  std::ranges::copy(counter_random(name, size, 0, 1, 2), values.data());
  return values;
}

/// Whether `actual` is the result of a sum of `terms` products, which comes to `expected` in double
/// and is of the order of 1. The bound is ten times what rounding at random makes of a chain that
/// long, and of operands between -1 and 1 (bf16: by 2^-9 of each; int8: by half of 1/127 of the
/// largest), so it lets Winograd's transforms pass and no wrong index.
inline bool agrees(double actual, double expected, std::size_t terms, Precision precision) {
  const double rounding = std::sqrt(static_cast<double>(terms)) * 6e-8;
  const double narrow = precision == Precision::bf16   ? 0x1p-9
                        : precision == Precision::int8 ? 0.5 / 127
                                                       : 0;
  return std::abs(actual - expected) <= 10 * (rounding + narrow) + 1e-6;
}

/// True if `is_right(element)` holds for some of `size` elements, the first and last among them.
template <class IsRight>
bool samples_agree(std::size_t size, const IsRight& is_right) {
  constexpr std::size_t samples = 97;
  for (std::size_t i = 0; i <= samples; ++i)
    if (!is_right((size - 1) * i / samples)) return false;
  return true;
}

}  // namespace q2l::benchmarks
