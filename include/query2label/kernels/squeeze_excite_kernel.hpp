// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"
#include "query2label/simd/vector_math.hpp"

namespace q2l::kernels {

/// out[c] = factor times the sum over `rows` rows, `stride` apart, of in[r * stride + c], for
/// `count` columns; the rows are added in order.
template <class T, class Arch>
inline void sum_rows(const T* in, std::size_t stride, std::size_t rows, T factor, T* out,
                     std::size_t count) noexcept {
  using B = simd::Batch<T, Arch>;
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t c, auto load, auto store) {
    B total(T(0));
    for (std::size_t r = 0; r < rows; ++r) total += load(in + r * stride + c);
    store(out + c, total * B(factor));
  });
}

/// row[c] = sigmoid(row[c]).
template <class T, class Arch>
inline void sigmoid_row(T* row, std::size_t count) noexcept {
  map_row<T, Arch>(row, row, count,
                   [](simd::Batch<T, Arch> x) { return simd::sigmoid<T, Arch>(x); });
}

/// out[c] = activation(in[c] * gate[c] + residual[c]); `residual` may be null, `out` may be `in` or
/// the residual.
template <class T, class Arch>
inline void gate_row(const T* in, const T* gate, const T* residual, Activation activation, T* out,
                     std::size_t count) noexcept {
  simd::for_each_lane_group<T, Arch>(count, [&](std::size_t c, auto load, auto store) {
    const auto x = load(in + c);
    const auto scale = load(gate + c);
    store(out + c, residual ? simd::fma<T, Arch>(x, scale, load(residual + c)) : x * scale);
  });
  activate_row<T, Arch>(activation, out, count);
}

}  // namespace q2l::kernels
