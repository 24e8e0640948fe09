// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include "query2label/simd/arch.hpp"

namespace q2l::simd {

/// a * b + c with one rounding.
/// xsimd 8.1 has no fused form for AVX-512: its `fma` is two instructions unless the compiler
/// contracts them, which Clang 14 does not (65-74 % of peak instead of 97 %).
template <class T, class Arch>
inline Batch<T, Arch> fma(Batch<T, Arch> a, Batch<T, Arch> b, Batch<T, Arch> c) noexcept {
#if defined(__AVX512F__)
  if constexpr (is_avx512<Arch> && std::is_same_v<T, float>) {
    return _mm512_fmadd_ps(a, b, c);
  } else if constexpr (is_avx512<Arch> && std::is_same_v<T, double>) {
    return _mm512_fmadd_pd(a, b, c);
  } else
#endif
  {
    return xsimd::fma(a, b, c);
  }
}

}  // namespace q2l::simd
