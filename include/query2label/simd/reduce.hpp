// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/simd/arch.hpp"

namespace q2l::simd {

/// Sum of the lanes, always in the same order: halves are added until one is left.
template <class T, class Arch>
inline T sum(Batch<T, Arch> value) noexcept {
  alignas(64) T lane[Batch<T, Arch>::size];
  value.store_aligned(lane);
  for (std::size_t half = Batch<T, Arch>::size / 2; half > 0; half /= 2) {
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
