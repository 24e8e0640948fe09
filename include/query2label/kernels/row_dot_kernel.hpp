// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/reduce.hpp"

namespace q2l::kernels {

/// Sum of a[i] * b[i] over `count` elements. Error at most (count / 16 + 5) eps times the sum of
/// |a[i] b[i]|.
template <class T, class Arch>
inline T dot_row(const T* a, const T* b, std::size_t count) noexcept {
  return simd::sum_lane_groups<T, Arch>(
      count, [&](std::size_t i, auto load, auto, simd::Batch<T, Arch>& sum) {
        sum = simd::fma<T, Arch>(load(a + i), load(b + i), sum);
      });
}

}  // namespace q2l::kernels
