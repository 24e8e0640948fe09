// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/attention_kernel.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"

namespace q2l::ops {

/// What is added to the scaled scores before the softmax: a bias of each head, the same for all
/// sequences, and, where there are masks, the mask of each sequence, the same for all heads.
template <class T>
struct AttentionBias {
  const T* heads = nullptr;               ///< [A, M, T], or null
  const T* masks = nullptr;               ///< [masks, M, T], or null; needs the two others
  const std::uint8_t* mask_of = nullptr;  ///< [N]: 0 for no mask, else one more than its index
};

/// Multi-head attention between matrices whose columns hold the heads side by side:
///   q [N M, D], k [N T, D], v [N T, D] -> out [N M, D],   D = A w,   N sequences
///   out[n, :, head] = softmax(scale q[n, :, head] k[n, :, head]^T + bias + mask) v[n, :, head]
/// `maps`, if not null, gets the attention weights [N, A, M, T]. `out` must not overlap k or v.
/// Each product has the error of `linear`. That of a score s is a relative one of its weight, to
/// which the softmax adds (T + 2 |s| + 6) eps.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void scaled_dot_product_attention(const Context& context, Matrix<const T> q, Matrix<const T> k,
                                  Matrix<const T> v, std::size_t sequences, std::size_t heads,
                                  T scale, const AttentionBias<T>& bias, Matrix<T> out,
                                  T* maps = nullptr) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  require_argument(sequences > 0 && heads > 0, op, "needs at least one sequence and one head");
  require_argument(q.columns % heads == 0, op, "the heads must divide the width");
  require_argument(q.rows % sequences == 0 && k.rows % sequences == 0, op,
                   "the sequences must divide the rows");
  require_equal(k.columns, q.columns, "scaled_dot_product_attention: columns of k");
  require_equal(v.columns, q.columns, "scaled_dot_product_attention: columns of v");
  require_equal(v.rows, k.rows, "scaled_dot_product_attention: rows of v");
  require_equal(out.rows, q.rows, "scaled_dot_product_attention: rows of out");
  require_equal(out.columns, q.columns, "scaled_dot_product_attention: columns of out");

  const std::size_t width = q.columns / heads;
  const std::size_t queries = q.rows / sequences;
  const std::size_t tokens = k.rows / sequences;
  require_argument(tokens > 0, op, "needs at least one key");
  require_argument(!bias.masks || (bias.heads && bias.mask_of), op,
                   "masks need a bias and an index");
  const kernels::PanelLayout<T, Arch> key_layout{1, width, tokens};
  const kernels::PanelLayout<T, Arch> value_layout{1, tokens, width};

  // A task is one head of one sequence. Where those are too few for the threads, a head's queries
  // are split and its keys packed once per part.
  constexpr std::size_t block_rows = 48;
  const std::size_t pairs = sequences * heads;
  const std::size_t parts =
      std::min((2 * context.workers + pairs - 1) / pairs, (queries + block_rows - 1) / block_rows);
  const std::size_t keys_size = round_up(key_layout.size(), cache_line / sizeof(T));
  const std::size_t values_size = round_up(value_layout.size(), cache_line / sizeof(T));
  const std::size_t block_size = block_rows * tokens;
  const std::size_t scratch_size = keys_size + values_size + (bias.masks ? 2 : 1) * block_size;
  const Workspace::Frame frame(context.workspace);
  T* const scratch = context.workspace.take<T>(context.workers * scratch_size);
  if (context.is_planning()) return;

  context.parallel_for(pairs * parts, [&](std::size_t task, std::size_t worker) {
    const std::size_t part = task % parts;
    const std::size_t head = task / parts % heads;
    const std::size_t n = task / parts / heads;
    const std::size_t column = head * width;
    T* const keys = scratch + worker * scratch_size;
    T* const values = keys + keys_size;
    T* const scores = values + values_size;
    T* const masked_bias = scores + block_size;
    const T* const mask = bias.masks && bias.mask_of[n] > 0
                              ? bias.masks + (bias.mask_of[n] - 1) * queries * tokens
                              : nullptr;
    const kernels::PanelSource<T> key_source{k.row(n * tokens) + column, 0, 1, k.stride};
    const kernels::PanelSource<T> value_source{v.row(n * tokens) + column, 0, v.stride, 1};
    kernels::pack_panels<T, Arch>(key_layout, key_source, keys, 0, key_layout.panels());
    kernels::pack_panels<T, Arch>(value_layout, value_source, values, 0, value_layout.panels());
    const std::size_t end = queries * (part + 1) / parts;
    for (std::size_t m = queries * part / parts; m < end; m += block_rows) {
      const std::size_t rows = std::min(block_rows, end - m);
      const std::size_t map_row = (n * heads + head) * queries + m;
      const T* block_bias = bias.heads ? bias.heads + (head * queries + m) * tokens : nullptr;
      if (mask) {
        kernels::add_row<T, Arch>(block_bias, mask + m * tokens, masked_bias, rows * tokens);
        block_bias = masked_bias;
      }
      kernels::attention_block<T, Arch>(q.row(n * queries + m) + column, q.stride, rows,
                                        {key_layout, keys}, {value_layout, values}, scale,
                                        block_bias, tokens, maps ? maps + map_row * tokens : scores,
                                        tokens, out.row(n * queries + m) + column, out.stride);
    }
  });
}

/// The scale of torch.nn.MultiheadAttention: 1 / sqrt(D / A).
template <class T>
T attention_scale(std::size_t width, std::size_t heads) noexcept {
  return static_cast<T>(1.0 / std::sqrt(static_cast<double>(width) / static_cast<double>(heads)));
}

}  // namespace q2l::ops
