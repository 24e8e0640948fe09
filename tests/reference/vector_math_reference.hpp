// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <limits>
#include <query2label/simd/vector_math.hpp>

namespace q2l::test {

// Reference, domain and largest error (in units in the last place) of each vector function.

template <class T>
struct ExpReference {
  static constexpr T lowest = simd::VectorMathBound<T>::exp_lowest;
  static constexpr T highest = simd::VectorMathBound<T>::exp_highest;
  static constexpr double ulps = simd::VectorMathBound<T>::exp;
  static long double value(long double x) { return std::exp(x); }
  template <class Arch>
  static simd::Batch<T, Arch> tested(simd::Batch<T, Arch> x) noexcept {
    return simd::exp<T, Arch>(x);
  }
};

template <class T>
struct SigmoidReference {
  static constexpr T lowest = -simd::VectorMathBound<T>::exp_highest;
  static constexpr T highest = simd::VectorMathBound<T>::exp_highest;
  static constexpr double ulps = simd::VectorMathBound<T>::sigmoid;
  static long double value(long double x) { return 1 / (1 + std::exp(-x)); }
  template <class Arch>
  static simd::Batch<T, Arch> tested(simd::Batch<T, Arch> x) noexcept {
    return simd::sigmoid<T, Arch>(x);
  }
};

template <class T>
struct ErfReference {
  static constexpr T lowest = std::numeric_limits<T>::lowest();
  static constexpr T highest = std::numeric_limits<T>::max();
  static constexpr double ulps = simd::VectorMathBound<T>::erf;
  static long double value(long double x) { return std::erf(x); }
  template <class Arch>
  static simd::Batch<T, Arch> tested(simd::Batch<T, Arch> x) noexcept {
    return simd::erf<T, Arch>(x);
  }
};

}  // namespace q2l::test
