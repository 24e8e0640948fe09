// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"
#include "query2label/simd/vector_math.hpp"

namespace q2l {

/// The function between two layers.
struct Activation {
  enum class Kind {
    identity,
    leaky_relu,  ///< x > 0 ? x : negative_slope * x; ReLU is the slope 0
    gelu,        ///< x * (1 + erf(x / sqrt 2)) / 2
    quick_gelu,  ///< x * sigmoid(1.702 x)
  };
  Kind kind = Kind::identity;
  double negative_slope = 1.0;

  static constexpr Activation identity() noexcept { return {}; }
  static constexpr Activation relu() noexcept { return {Kind::leaky_relu, 0.0}; }
  static constexpr Activation leaky_relu(double slope) noexcept {
    return {Kind::leaky_relu, slope};
  }
  static constexpr Activation gelu() noexcept { return {Kind::gelu}; }
  static constexpr Activation quick_gelu() noexcept { return {Kind::quick_gelu}; }
};

}  // namespace q2l

namespace q2l::kernels {

template <class T, class Arch>
inline simd::Batch<T, Arch> leaky_relu(simd::Batch<T, Arch> x, T negative_slope) noexcept {
  using B = simd::Batch<T, Arch>;
  // 0 times -infinity would be NaN. `x` comes second, so that a NaN stays.
  if (negative_slope == T(0)) return xsimd::max(B(T(0)), x);
  return xsimd::select(x > B(T(0)), x, B(negative_slope) * x);
}

/// Error at most (VectorMathBound<T>::erf / 4 + 1) epsilon |x| for all finite x: erf's, one
/// product's and one sum's.
template <class T, class Arch>
inline simd::Batch<T, Arch> gelu(simd::Batch<T, Arch> x) noexcept {
  using B = simd::Batch<T, Arch>;
  const B half_x = B(T(0.5)) * x;
  return simd::fma<T, Arch>(half_x, simd::erf<T, Arch>(x * B(T(0.70710678118654752440))), half_x);
}

/// Error at most (VectorMathBound<T>::sigmoid + 2) epsilon |x| for all finite x.
template <class T, class Arch>
inline simd::Batch<T, Arch> quick_gelu(simd::Batch<T, Arch> x) noexcept {
  using B = simd::Batch<T, Arch>;
  return x / (B(T(1)) + simd::exp<T, Arch>(x * B(T(-1.702))));
}

/// out[i] = f(in[i]) for `count` elements; `out` may be `in`.
template <class T, class Arch, class F>
inline void map_row(const T* in, T* out, std::size_t count, F f) noexcept {
  simd::for_each_lane_group<T, Arch>(
      count, [&](std::size_t i, auto load, auto store) { store(out + i, f(load(in + i))); });
}

/// Applies `activation` to `count` elements in place.
template <class T, class Arch>
inline void activate_row(Activation activation, T* row, std::size_t count) noexcept {
  using B = simd::Batch<T, Arch>;
  switch (activation.kind) {
    case Activation::Kind::identity:
      return;
    case Activation::Kind::leaky_relu: {
      const T slope = static_cast<T>(activation.negative_slope);
      return map_row<T, Arch>(row, row, count,
                              [slope](B x) { return leaky_relu<T, Arch>(x, slope); });
    }
    case Activation::Kind::gelu:
      return map_row<T, Arch>(row, row, count, [](B x) { return gelu<T, Arch>(x); });
    case Activation::Kind::quick_gelu:
      return map_row<T, Arch>(row, row, count, [](B x) { return quick_gelu<T, Arch>(x); });
  }
}

/// out[i] = a[i] + b[i]; `out` may be either.
template <class T, class Arch>
inline void add_row(const T* a, const T* b, T* out, std::size_t count) noexcept {
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t i, auto load, auto store) {
    store(out + i, load(a + i) + load(b + i));
  });
}

}  // namespace q2l::kernels
