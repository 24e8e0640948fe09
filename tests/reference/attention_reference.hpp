// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>

#include "reference/estimate.hpp"
#include "reference/linear_reference.hpp"
#include "reference/softmax_reference.hpp"

namespace q2l::test {

/// Multi-head attention: out = softmax(scale q k^T + bias) v for each head of each sequence, with
/// the errors of two products and a softmax.
struct AttentionReference {
  static constexpr Domain domain{0.0, 1.0};

  struct Result {
    Estimate out;   ///< [N M, D]
    Estimate maps;  ///< [N A M, T], the attention weights
  };

  /// q [N M, D], k and v [N T, D]; `bias` [N A M, T] may be empty.
  template <class T>
  static Result apply(const Estimate& q, const Estimate& k, const Estimate& v,
                      std::size_t sequences, std::size_t heads, double scale,
                      const Estimate& bias = {}) {
    const std::size_t width = q.columns / heads;
    const std::size_t queries = q.rows / sequences;
    const std::size_t tokens = k.rows / sequences;
    Result result{Estimate(q.rows, q.columns), Estimate(sequences * heads * queries, tokens)};
    for (std::size_t n = 0; n < sequences; ++n) {
      for (std::size_t h = 0; h < heads; ++h) {
        const Estimate own_q = part(q, n * queries, queries, h * width, width);
        const Estimate own_k = part(k, n * tokens, tokens, h * width, width);
        const Estimate own_v = part(v, n * tokens, tokens, h * width, width);
        const Estimate own_bias =
            bias.empty() ? Estimate() : bias.row_range((n * heads + h) * queries, queries);
        const Estimate scores = LinearReference::apply<T>(own_q, own_k, {});
        const Estimate weights = SoftmaxReference::apply<T>(scores, own_bias, scale);
        copy(weights, result.maps, (n * heads + h) * queries, 0);
        copy(LinearReference::apply<T>(weights, transposed(own_v), {}), result.out, n * queries,
             h * width);
      }
    }
    return result;
  }

  /// The scale of torch.nn.MultiheadAttention.
  static double scale(std::size_t width, std::size_t heads) {
    return 1.0 / std::sqrt(static_cast<double>(width / heads));
  }

  static Estimate transposed(const Estimate& in) {
    Estimate out(in.columns, in.rows);
    for (std::size_t r = 0; r < in.rows; ++r) {
      for (std::size_t c = 0; c < in.columns; ++c) {
        out.value[out.at(c, r)] = in.value[in.at(r, c)];
        out.error[out.at(c, r)] = in.error[in.at(r, c)];
      }
    }
    return out;
  }

 private:
  static Estimate part(const Estimate& in, std::size_t row, std::size_t rows, std::size_t column,
                       std::size_t columns) {
    Estimate out(rows, columns);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        out.value[out.at(r, c)] = in.value[in.at(row + r, column + c)];
        out.error[out.at(r, c)] = in.error[in.at(row + r, column + c)];
      }
    }
    return out;
  }

  static void copy(const Estimate& in, Estimate& out, std::size_t row, std::size_t column) {
    for (std::size_t r = 0; r < in.rows; ++r) {
      for (std::size_t c = 0; c < in.columns; ++c) {
        out.value[out.at(row + r, column + c)] = in.value[in.at(r, c)];
        out.error[out.at(row + r, column + c)] = in.error[in.at(r, c)];
      }
    }
  }
};

}  // namespace q2l::test
