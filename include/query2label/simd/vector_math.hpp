// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"

namespace q2l::simd {

/// The largest error of each function below, in units in the last place of the result, on its
/// domain. The tests measure against these numbers.
template <class T>
struct VectorMathBound {
  static constexpr bool is_float = std::is_same_v<T, float>;
  static constexpr double exp = 2.0;                    ///< exp_lowest <= x <= exp_highest
  static constexpr double sigmoid = 3.5;                ///< |x| <= exp_highest
  static constexpr double erf = is_float ? 6.5 : 80.0;  ///< all finite x
  static constexpr T exp_lowest = is_float ? T(-87.3) : T(-708.3);   ///< 0 or exact below
  static constexpr T exp_highest = is_float ? T(88.37) : T(709.43);  ///< inf or exact above
};

/// e^x. 0 at -inf, inf at inf, NaN kept.
template <class T, class Arch>
inline Batch<T, Arch> exp(Batch<T, Arch> x) noexcept {
  if constexpr (std::is_same_v<T, double>) {
    return xsimd::exp(x);
  } else {
    // e^x = 2^k e^r with |r| <= ln 2 / 2. At the limits 2^k is 0 or infinite, so that nothing has
    // to be selected. `x` comes second, so that a NaN stays.
    using B = Batch<T, Arch>;
    x = xsimd::min(B(89.0f), xsimd::max(B(-88.0f), x));
    const B k = xsimd::nearbyint(x * B(1.44269504f));
    B r = simd::fma<T, Arch>(k, B(-0.693359375f), x);  // ln 2 in two parts: the product is exact
    r = simd::fma<T, Arch>(k, B(2.12194440e-4f), r);
    B p(1.3997796e-3f);  // (e^r - 1 - r) / r^2, the polynomial of Cephes
    for (const float c : {8.3955629e-3f, 4.1665401e-2f, 1.6666277e-1f, 0.5f}) {
      p = simd::fma<T, Arch>(p, r, B(c));
    }
    return xsimd::ldexp(simd::fma<T, Arch>(p, r * r, r) + B(1.0f), xsimd::to_int(k));
  }
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
  using B = Batch<T, Arch>;
  if constexpr (std::is_same_v<T, double>) {
    // xsimd's double version gives NaN where x^2 overflows; beyond 6 the result is 1 to the last
    // bit. `x` comes second, so that a NaN stays.
    const B limit(T(6));
    return xsimd::erf(xsimd::min(limit, xsimd::max(-limit, x)));
  } else {
    // erf(x) / x as a ratio of polynomials in x^2, the minimax one of relative error 2.6e-8 up to
    // 3.85, beyond which erf is 1 but for 0.9 of a unit in the last place. All coefficients are
    // positive: nothing cancels.
    const B square = x * x;
    B p(2.2122770e-6f);
    for (const float c : {2.8246402e-4f, 3.3701738e-3f, 5.1542943e-2f, 1.8034267e-1f, 1.1283792f}) {
      p = simd::fma<T, Arch>(p, square, B(c));
    }
    B q(3.9644362e-5f);
    for (const float c : {1.0788386e-3f, 1.4169332e-2f, 1.1006423e-1f, 4.9315788e-1f, 1.0f}) {
      q = simd::fma<T, Arch>(q, square, B(c));
    }
    return xsimd::select(xsimd::abs(x) > B(3.85f), xsimd::copysign(B(1.0f), x), x * p / q);
  }
}

}  // namespace q2l::simd
