// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::kernels {

/// out[i] = in[i] as the left operand of a product whose weights are of type `W`: rounded to
/// bfloat16, or q = round(in[i] / scale) + zero_point, held to 0 .. 255, less what the instruction
/// set wants taken off. Rounding is to nearest, ties to even, so all instruction sets agree, but
/// for subnormals in bfloat16 (see simd::store_bfloat16). In int8 infinities are held, too, and NaN
/// becomes some number of 0 .. 255: neither is detected.
template <class W, class Arch, class Left>
inline void convert_left_row(const float* in, std::size_t count, const Quantization& quantization,
                             Left* out) noexcept {
  using B = simd::Batch<float, Arch>;
  using Dot = simd::DotProduct<float, W, Arch>;
  const auto convert = [&]() {
    if constexpr (std::is_same_v<Left, bfloat16>) {
      return [](B value, Left* to) { simd::store_bfloat16<Arch>(value, to); };
    } else {
      const auto zero = static_cast<float>(quantization.zero_point);
      const std::int32_t offset =
          quantization.zero_point - Dot::left_offset(quantization.zero_point);
      const B inverse(1.0f / quantization.scale), lowest(-zero), highest(255.0f - zero);
      return [=](B value, Left* to) {
        Dot::store_left(xsimd::min(xsimd::max(value * inverse, lowest), highest), offset, to);
      };
    }
  }();
  std::size_t i = 0;
  for (; i + B::size <= count; i += B::size) convert(B::load_unaligned(in + i), out + i);
  if (i < count) {
    Left rest[B::size];
    convert(simd::load_partial<float, Arch>(in + i, count - i), rest);
    std::copy_n(rest, count - i, out + i);
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

/// `count` elements as left operands of `b`.
template <class T, class Arch, class W, class Left>
inline void convert_left_row(const PanelMatrix<T, Arch, W>& b, const T* in, std::size_t count,
                             Left* out) noexcept {
  if constexpr (std::is_same_v<T, double>) {
    round_left_row(in, count, b.rounding, b.input, out);
  } else {
    convert_left_row<W, Arch>(in, count, b.input, out);
  }
}

}  // namespace q2l::kernels
