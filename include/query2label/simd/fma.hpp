// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include "query2label/simd/arch.hpp"

namespace q2l::simd {

/// a * b + c with one rounding.
/// xsimd's own form is an addition after a multiplication for AVX-512 before 11.1 and for AVX-VNNI
/// before 14.3; a compiler may contract it, but Clang 14 does not (65-74 % of peak, not 97 %).
template <class T, class Arch>
inline Batch<T, Arch> fma(Batch<T, Arch> a, Batch<T, Arch> b, Batch<T, Arch> c) noexcept {
#if defined(__AVX512F__)
  if constexpr (is_avx512<Arch> && std::is_same_v<T, float>) {
    return _mm512_fmadd_ps(a, b, c);
  } else if constexpr (is_avx512<Arch> && std::is_same_v<T, double>) {
    return _mm512_fmadd_pd(a, b, c);
  } else
#elif defined(__FMA__)
  if constexpr (std::is_base_of_v<xsimd::avx2, Arch> && std::is_same_v<T, float>) {
    return _mm256_fmadd_ps(a, b, c);
  } else if constexpr (std::is_base_of_v<xsimd::avx2, Arch> && std::is_same_v<T, double>) {
    return _mm256_fmadd_pd(a, b, c);
  } else
#endif
  {
    return xsimd::fma(a, b, c);
  }
}

}  // namespace q2l::simd
