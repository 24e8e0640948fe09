// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <limits>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"
#include "query2label/simd/reduce.hpp"
#include "query2label/simd/vector_math.hpp"

namespace q2l::kernels {

/// row = softmax(scale * row + bias) over `count` elements in place, scale > 0; `bias` may be null.
/// The largest element is subtracted first, so no finite input overflows.
template <class T, class Arch>
inline void softmax_row(T* row, const T* bias, T scale, std::size_t count) noexcept {
  using B = simd::Batch<T, Arch>;
  constexpr T lowest = std::numeric_limits<T>::lowest();
  const B factor(scale);
  B largest(lowest);
  simd::for_each_lane_group<T, Arch>(
      count,
      [&](std::size_t i, auto load, auto store) {
        B x = load(row + i) * factor;
        if (bias) x += load(bias + i);
        store(row + i, x);
        // Lanes beyond the end hold `lowest`, scaled: they lose to any number, or tie at worst.
        largest = xsimd::max(largest, x);
      },
      lowest);
  const B shift(simd::max<T, Arch>(largest));

  const T total = simd::sum_lane_groups<T, Arch>(
      count,
      [&](std::size_t i, auto load, auto store, B& sum) {
        const B e = simd::exp<T, Arch>(load(row + i) - shift);
        store(row + i, e);
        sum += e;
      },
      -std::numeric_limits<T>::infinity());  // e^-inf adds nothing
  const B inverse(T(1) / total);
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t i, auto load, auto store) {
    store(row + i, load(row + i) * inverse);
  });
}

}  // namespace q2l::kernels
