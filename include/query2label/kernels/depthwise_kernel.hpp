// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::kernels {

/// One pixel of a depthwise convolution: out[c] = bias[c] + sum over t of pixels[t][c]
/// filters[t][c] for `channels` channels, where t runs over the `taps` kernel positions that lie in
/// the picture.
template <class T, class Arch>
inline void depthwise_pixel(const T* const* pixels, const T* const* filters, std::size_t taps,
                            const T* bias, T* out, std::size_t channels) noexcept {
  simd::for_each_lane_group<T, Arch>(channels, [&](std::size_t c, auto load, auto store) {
    simd::Batch<T, Arch> sum = load(bias + c);
    for (std::size_t t = 0; t < taps; ++t) {
      sum = simd::fma<T, Arch>(load(pixels[t] + c), load(filters[t] + c), sum);
    }
    store(out + c, sum);
  });
}

}  // namespace q2l::kernels
