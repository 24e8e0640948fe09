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
  const auto size = static_cast<T>(count);
  const T mean = simd::sum_lane_groups<T, Arch>(
                     count, [&](std::size_t i, auto load, auto, B& sum) { sum += load(in + i); }) /
                 size;
  const B center(mean);
  const T variance = simd::sum_lane_groups<T, Arch>(
                         count,
                         [&](std::size_t i, auto load, auto, B& sum) {
                           const B d = load(in + i) - center;
                           sum = simd::fma<T, Arch>(d, d, sum);
                         },
                         mean) /  // lanes beyond the end add nothing: they read as the mean
                     size;
  const B inverse(T(1) / std::sqrt(variance + eps));

  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t i, auto load, auto store) {
    const B scaled = (load(in + i) - center) * inverse;
    store(out + i, simd::fma<T, Arch>(scaled, load(weight + i), load(bias + i)));
  });
}

}  // namespace q2l::kernels
