// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include "query2label/simd/arch.hpp"

namespace q2l::simd {

/// The largest error of each function below, in units in the last place of the result, on its
/// domain. The tests measure against these numbers.
template <class T>
struct VectorMathBound {
  static constexpr bool is_float = std::is_same_v<T, float>;
  static constexpr double exp = 2.0;                    ///< exp_lowest <= x <= exp_highest
  static constexpr double sigmoid = 3.5;                ///< |x| <= exp_highest
  static constexpr double erf = is_float ? 2.5 : 80.0;  ///< all finite x
  static constexpr T exp_lowest = is_float ? T(-87.3) : T(-708.3);   ///< 0 or exact below
  static constexpr T exp_highest = is_float ? T(88.37) : T(709.43);  ///< inf or exact above
};

/// e^x. 0 at -inf, inf at inf, NaN kept.
template <class T, class Arch>
inline Batch<T, Arch> exp(Batch<T, Arch> x) noexcept {
  return xsimd::exp(x);
}

/// 1 / (1 + e^-x). 0 and 1 are reached at the ends, never NaN for a number.
template <class T, class Arch>
inline Batch<T, Arch> sigmoid(Batch<T, Arch> x) noexcept {
  const Batch<T, Arch> one(T(1));
  return one / (one + simd::exp<T, Arch>(-x));
}

/// 2/sqrt(pi) times the integral of e^-t^2 from 0 to x.
template <class T, class Arch>
inline Batch<T, Arch> erf(Batch<T, Arch> x) noexcept {
  if constexpr (std::is_same_v<T, double>) {
    // xsimd's double version gives NaN where x^2 overflows; beyond 6 the result is 1 to the last
    // bit. `x` comes second, so that a NaN stays.
    const Batch<T, Arch> limit(T(6));
    return xsimd::erf(xsimd::min(limit, xsimd::max(-limit, x)));
  } else {
    return xsimd::erf(x);
  }
}

}  // namespace q2l::simd
