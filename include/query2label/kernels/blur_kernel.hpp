// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::kernels {

/// out[c] = the 3x3 pixels at `pixels` (row by row), weighted (1,2,1) x (1,2,1) / 16, for `count`
/// channels. Error at most 3 eps times the weighted mean of their magnitudes: the weights are powers
/// of two, so only the sums round.
template <class T, class Arch>
inline void blur_pixel(const std::array<const T*, 9>& pixels, T* out, std::size_t count) noexcept {
  using B = simd::Batch<T, Arch>;
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t c, auto load, auto store) {
    const B corners =
        (load(pixels[0] + c) + load(pixels[2] + c)) + (load(pixels[6] + c) + load(pixels[8] + c));
    const B edges =
        (load(pixels[1] + c) + load(pixels[7] + c)) + (load(pixels[3] + c) + load(pixels[5] + c));
    const B center = load(pixels[4] + c) * B(T(0.25));
    const B ring = simd::fma<T, Arch>(edges, B(T(0.125)), corners * B(T(0.0625)));
    store(out + c, center + ring);
  });
}

}  // namespace q2l::kernels
