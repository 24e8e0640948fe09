// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::simd {

/// Lanes that a sum is spread over. Not the width of a vector: every instruction set adds in the
/// same order, so that all give the same bits.
inline constexpr std::size_t sum_lanes = 16;

/// A sum over a row of `count` elements: calls `body(offset, load, store, total)` as
/// `for_each_lane_group` would; the body adds its terms to `total`, those of lanes beyond the end
/// being zero. Element i goes to lane i % sum_lanes; then halves are added until one is left.
template <class T, class Arch, class Body>
inline T sum_lane_groups(std::size_t count, Body&& body, T fill = T(0)) {
  using B = Batch<T, Arch>;
  constexpr std::size_t chains = sum_lanes / B::size;
  static_assert(chains > 0);
  B total[chains];
  Q2L_UNROLL
  for (std::size_t c = 0; c < chains; ++c) total[c] = B(T(0));
  const std::size_t whole = count / sum_lanes * sum_lanes;
  for (std::size_t i = 0; i < whole; i += sum_lanes) {
    Q2L_UNROLL
    for (std::size_t c = 0; c < chains; ++c) {
      body(
          i + c * B::size, [](const T* p) { return B::load_unaligned(p); },
          [](T* p, B value) { value.store_unaligned(p); }, total[c]);
    }
  }
  alignas(64) T lane[sum_lanes];
  Q2L_UNROLL
  for (std::size_t c = 0; c < chains; ++c) total[c].store_aligned(lane + c * B::size);
  for_each_lane_group<T, Arch>(
      count - whole,
      [&](std::size_t i, auto load, auto store) {
        B rest = B::load_aligned(lane + i);
        body(whole + i, load, store, rest);
        rest.store_aligned(lane + i);
      },
      fill);
  for (std::size_t half = sum_lanes / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

/// Largest lane.
template <class T, class Arch>
inline T max(Batch<T, Arch> value) noexcept {
  alignas(64) T lane[Batch<T, Arch>::size];
  value.store_aligned(lane);
  return *std::max_element(lane, lane + Batch<T, Arch>::size);
}

}  // namespace q2l::simd
