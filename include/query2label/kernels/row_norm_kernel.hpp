// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"
#include "query2label/simd/reduce.hpp"

namespace q2l::kernels {

/// out = (in - mean) / sqrt(variance + eps) * weight + bias over one row of `count` elements; `out`
/// may be `in`. Two passes for the statistics, so that a large mean costs no accuracy.
template <class T, class Arch>
inline void layer_norm_row(const T* in, const T* weight, const T* bias, T eps, T* out,
                           std::size_t count) noexcept {
  using B = simd::Batch<T, Arch>;
  B total(T(0));
  simd::for_each_lane_group<T, Arch>(
      count, [&](std::size_t i, auto load, auto) { total += load(in + i); });
  const T mean = simd::sum<T, Arch>(total) / static_cast<T>(count);

  B squares(T(0));
  const B center(mean);
  const std::size_t whole = count / B::size * B::size;
  for (std::size_t i = 0; i < whole; i += B::size) {
    const B d = B::load_unaligned(in + i) - center;
    squares = simd::fma<T, Arch>(d, d, squares);
  }
  if (whole < count) {  // lanes beyond the end must add nothing: they read as the mean
    const B d = simd::load_partial<T, Arch>(in + whole, count - whole, mean) - center;
    squares = simd::fma<T, Arch>(d, d, squares);
  }
  const T variance = simd::sum<T, Arch>(squares) / static_cast<T>(count);
  const B inverse(T(1) / std::sqrt(variance + eps));

  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t i, auto load, auto store) {
    const B scaled = (load(in + i) - center) * inverse;
    store(out + i, simd::fma<T, Arch>(scaled, load(weight + i), load(bias + i)));
  });
}

}  // namespace q2l::kernels
