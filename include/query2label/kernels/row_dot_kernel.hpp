// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"
#include "query2label/simd/reduce.hpp"

namespace q2l::kernels {

/// Sum of a[i] * b[i] over `count` elements. Error at most (count / lanes + 6) eps times the sum of
/// |a[i] b[i]|.
template <class T, class Arch>
inline T dot_row(const T* a, const T* b, std::size_t count) noexcept {
  simd::Batch<T, Arch> total(T(0));
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t i, auto load, auto) {
    total = simd::fma<T, Arch>(load(a + i), load(b + i), total);
  });
  return simd::sum<T, Arch>(total);
}

}  // namespace q2l::kernels
