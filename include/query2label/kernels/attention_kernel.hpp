// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <type_traits>

#include "query2label/core/precision.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/row_softmax_kernel.hpp"

namespace q2l::kernels {

/// One head over a block of queries: out = softmax(scale * q k^T + bias) v.
///   q [rows, w] -> scores [rows, T] -> weights [rows, T] -> out [rows, w]
/// `keys` is k^T packed (depth w, columns T), `values` is v packed (depth T, columns w). `scores`
/// holds the attention weights afterwards, rounded to bfloat16 if `rounds_weights` (for a double
/// reference). `bias` [rows, T] with its stride, or null.
template <class T, class Arch>
inline void attention_block(const T* q, std::size_t q_stride, std::size_t rows,
                            const PanelMatrix<T, Arch>& keys, const PanelMatrix<T, Arch>& values,
                            T scale, const T* bias, std::size_t bias_stride, T* scores,
                            std::size_t scores_stride, T* out, std::size_t out_stride,
                            bool rounds_weights = false) noexcept {
  const std::size_t tokens = keys.layout.columns;
  matmul_block<T, Arch>(StridedRows<T>{q, q_stride}, 0, rows, keys, 0, keys.layout.panels(),
                        Epilogue<T>{}, scores, scores_stride);
  for (std::size_t r = 0; r < rows; ++r) {
    softmax_row<T, Arch>(scores + r * scores_stride, bias ? bias + r * bias_stride : nullptr, scale,
                         tokens);
    if constexpr (std::is_same_v<T, double>) {
      T* const row = scores + r * scores_stride;
      if (rounds_weights) round_left_row(row, tokens, Precision::bf16, {}, row);
    }
  }
  matmul_block<T, Arch>(StridedRows<T>{scores, scores_stride}, 0, rows, values, 0,
                        values.layout.panels(), Epilogue<T>{}, out, out_stride);
}

}  // namespace q2l::kernels
