// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::kernels {

/// out[i] = in[i] as the left operand of a product whose weights are of type `W`: rounded to
/// bfloat16, or q = round(in[i] / scale) + zero_point, held to 0 .. 255, less what the instruction
/// set wants taken off. Rounding is to nearest, ties to even, so all instruction sets agree.
template <class W, class Arch, class Left>
inline void convert_left_row(const float* in, std::size_t count, const Quantization& quantization,
                             Left* out) noexcept {
  if constexpr (std::is_same_v<Left, bfloat16>) {
    std::transform(in, in + count, out, to_bfloat16);
  } else {
    using B = simd::Batch<float, Arch>;
    constexpr std::size_t block = 64;
    const auto zero = static_cast<float>(quantization.zero_point);
    const std::int32_t offset =
        quantization.zero_point -
        simd::DotProduct<float, W, Arch>::left_offset(quantization.zero_point);
    const B inverse(1.0f / quantization.scale), lowest(-zero), highest(255.0f - zero);
    alignas(64) std::int32_t rounded[block];
    alignas(64) float padded[block];
    alignas(64) float shifted[B::size];
    constexpr auto shift_bits = std::bit_cast<std::int32_t>(0x1.8p23f);
    for (std::size_t begin = 0; begin < count; begin += block) {
      const std::size_t valid = std::min(block, count - begin);
      const float* from = in + begin;
      if (valid < block) {
        std::fill(std::copy_n(from, valid, padded), padded + block, 0.0f);
        from = padded;
      }
      for (std::size_t i = 0; i < block; i += B::size) {
        const B scaled = B::load_unaligned(from + i) * inverse;
        // Beside 1.5 * 2^23 a float has no bits left for fractions: the addition rounds, and the
        // number stands in the lowest bits.
        const B number = xsimd::min(xsimd::max(scaled, lowest), highest) + B(0x1.8p23f);
        number.store_aligned(shifted);
        for (std::size_t j = 0; j < B::size; ++j) {
          rounded[i + j] = std::bit_cast<std::int32_t>(shifted[j]) - shift_bits;
        }
      }
      const auto narrow = [&](std::size_t n) {  // of constant length the loop is a few instructions
        for (std::size_t i = 0; i < n; ++i) out[begin + i] = static_cast<Left>(rounded[i] + offset);
      };
      valid == block ? narrow(block) : narrow(valid);
    }
  }
}

/// The same in double, the numbers keeping their meaning: the reference that narrow products are
/// measured against.
inline void round_left_row(const double* in, std::size_t count, Precision precision,
                           const Quantization& quantization, double* out) noexcept {
  std::transform(in, in + count, out, [&](double x) {
    if (precision == Precision::bf16) {
      return static_cast<double>(to_bfloat16(static_cast<float>(x)));
    }
    const double zero = quantization.zero_point;
    const auto scale = static_cast<double>(quantization.scale);
    return scale * std::clamp(std::nearbyint(x / scale), -zero, 255 - zero);
  });
}

}  // namespace q2l::kernels
