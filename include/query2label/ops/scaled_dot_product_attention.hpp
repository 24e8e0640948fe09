// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/workspace.hpp"
#include "query2label/kernels/attention_kernel.hpp"
#include "query2label/kernels/bfloat16_attention_kernel.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::ops {

/// What is added to the scaled scores before the softmax: a bias of each head, the same for all
/// sequences, and, where there are masks, the mask of each sequence, the same for all heads.
template <class T>
struct AttentionBias {
  const T* heads = nullptr;               ///< [A, M, T], or null
  const T* masks = nullptr;               ///< [masks, M, T], or null; needs the two others
  const std::uint8_t* mask_of = nullptr;  ///< [N]: 0 for no mask, else one more than its index

  /// The mask of sequence `n`, of `size` elements, or null.
  [[nodiscard]] const T* mask(std::size_t n, std::size_t size) const noexcept {
    return masks && mask_of[n] > 0 ? masks + (mask_of[n] - 1) * size : nullptr;
  }
};

namespace detail {

/// Sizes of an attention: N, A, M, T.
struct AttentionSize {
  std::size_t sequences, heads, queries, tokens;
};

/// Calls `head(n, h, worker, for_each_block)` for each head of each sequence, split over threads;
/// that packs keys and values and calls `for_each_block(body)`, which calls `body(m, rows, bias)`
/// for blocks of at most `block_rows` queries from m on, with what is added to their scores, or
/// null. Where there are too few heads for the threads, several tasks share a head's queries, and
/// each packs its keys. Needs workspace memory.
template <class T, class Arch, class Head>
void for_each_head(const Context& context, const AttentionSize& size, std::size_t block_rows,
                   const AttentionBias<T>& bias, const Head& head) {
  const std::size_t queries = size.queries, tokens = size.tokens;
  const std::size_t pairs = size.sequences * size.heads;
  const std::size_t parts =
      std::min((2 * context.workers + pairs - 1) / pairs, (queries + block_rows - 1) / block_rows);
  const std::size_t block_size = block_rows * tokens;
  T* const masked = bias.masks ? context.workspace.take<T>(context.workers * block_size) : nullptr;
  if (context.is_planning()) return;
  context.parallel_for(pairs * parts, [&](std::size_t task, std::size_t worker) {
    const std::size_t part = task % parts;
    const std::size_t h = task / parts % size.heads;
    const std::size_t n = task / parts / size.heads;
    const T* const mask = bias.mask(n, queries * tokens);
    head(n, h, worker, [&](const auto& body) {
      const std::size_t end = queries * (part + 1) / parts;
      for (std::size_t m = queries * part / parts; m < end; m += block_rows) {
        const std::size_t rows = std::min(block_rows, end - m);
        const T* block_bias = bias.heads ? bias.heads + (h * queries + m) * tokens : nullptr;
        if (mask) {
          T* const sum = masked + worker * block_size;
          kernels::add_row<T, Arch>(block_bias, mask + m * tokens, sum, rows * tokens);
          block_bias = sum;
        }
        body(m, rows, block_bias);
      }
    });
  });
}

/// `in` rounded to bfloat16, in workspace memory.
inline Matrix<const double> round_to_bfloat16(const Context& context, Matrix<const double> in) {
  const Matrix<double> out = context.workspace.take_matrix<double>(in.rows, in.columns);
  if (context.is_planning()) return out;
  for_each_row(context, in.rows, in.columns, [&](std::size_t r) {
    kernels::round_left_row(in.row(r), in.columns, Precision::bf16, {}, out.row(r));
  });
  return out;
}

/// `scaled_dot_product_attention` in bfloat16.
template <class Arch>
void bfloat16_attention(const Context& context, Matrix<const float> q, Matrix<const float> k,
                        Matrix<const float> v, const AttentionSize& size, float scale,
                        const AttentionBias<float>& bias, Matrix<float> out, float* maps) {
  using Tiles = std::conditional_t<simd::has_amx<float, bfloat16, Arch>, simd::AmxTiles<bfloat16>,
                                   kernels::NoTiles>;
  using Attention = kernels::Bfloat16Attention<Arch, Tiles>;
  using Left = typename Attention::Left;
  if constexpr (Attention::has_tiles) {  // tile registers must be asked for, once
    [[maybe_unused]] static const bool is_supported = (simd::require_cpu<Arch>(), true);
  }
  constexpr std::size_t block_rows = Attention::block_rows;
  const std::size_t queries = size.queries, tokens = size.tokens;
  const std::size_t width = q.columns / size.heads;
  const Attention attention(tokens, width);
  const std::size_t right_size = round_up(attention.right_size(), cache_line / sizeof(bfloat16));
  const std::size_t left_size = round_up(attention.left_size(), cache_line / sizeof(Left));
  bfloat16* const right = context.workspace.take<bfloat16>(context.workers * right_size);
  Left* const left = context.workspace.take<Left>(context.workers * left_size);
  float* const scores = context.workspace.take<float>(context.workers * block_rows * tokens);
  float* const ones = context.workspace.take<float>(attention.ones_size());
  if (!context.is_planning()) std::fill_n(ones, attention.ones_size(), 1.0f);

  for_each_head<float, Arch>(
      context, size, block_rows, bias,
      [&](std::size_t n, std::size_t head, std::size_t worker, const auto& for_each_block) {
        const typename Attention::Memory memory{right + worker * right_size,
                                                left + worker * left_size, ones};
        const auto of_head = [&](const auto& matrix, std::size_t rows) {
          return matrix.column_range(head * width, width).row_range(n * rows, rows);
        };
        attention.pack(of_head(k, tokens), of_head(v, tokens), memory);
        Tiles tiles;
        for_each_block([&](std::size_t m, std::size_t rows, const float* block_bias) {
          float* const weights = maps ? maps + ((n * size.heads + head) * queries + m) * tokens
                                      : scores + worker * block_rows * tokens;
          attention.multiply(tiles, of_head(q, queries).row_range(m, rows), scale, block_bias,
                             {weights, rows, tokens}, of_head(out, queries).row_range(m, rows),
                             memory);
        });
      });
}

}  // namespace detail

/// Multi-head attention between matrices whose columns hold the heads side by side:
///   q [N M, D], k [N T, D], v [N T, D] -> out [N M, D],   D = A w,   N sequences
///   out[n, :, head] = softmax(scale q[n, :, head] k[n, :, head]^T + bias + mask) v[n, :, head]
/// `maps`, if not null, gets the attention weights [N, A, M, T]. `out` must not overlap k or v.
/// In `precision` bf16 the operands of both products are rounded to bfloat16 where the processor
/// multiplies those, and in double, which is the reference of that; elsewhere it is f32. Each
/// product has the error of `linear`. That of a score s is a relative one of its weight, to which
/// the softmax adds (T + 2 |s| + 6) eps. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void scaled_dot_product_attention(const Context& context, Matrix<const T> q, Matrix<const T> k,
                                  Matrix<const T> v, std::size_t sequences, std::size_t heads,
                                  T scale, const AttentionBias<T>& bias, Matrix<T> out,
                                  T* maps = nullptr, Precision precision = Precision::f32) {
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
  const detail::AttentionSize size{sequences, heads, queries, tokens};
  require_argument(tokens > 0, op, "needs at least one key");
  require_argument(!bias.masks || (bias.heads && bias.mask_of), op,
                   "masks need a bias and an index");
  const Workspace::Frame frame(context.workspace);
  const bool is_rounded = std::is_same_v<T, double> && precision == Precision::bf16;
  if constexpr (std::is_same_v<T, double>) {
    if (is_rounded) {
      for (Matrix<const T>* const operand : {&q, &k, &v}) {
        *operand = detail::round_to_bfloat16(context, *operand);
      }
    }
  }
  if constexpr (std::is_same_v<T, float> && simd::multiplies_bfloat16<Arch>) {
    if (precision == Precision::bf16 && width > 0) {
      return detail::bfloat16_attention<Arch>(context, q, k, v, size, scale, bias, out, maps);
    }
  }
  constexpr std::size_t block_rows = 48;
  const kernels::PanelLayout<T, Arch> key_layout{1, width, tokens};
  const kernels::PanelLayout<T, Arch> value_layout{1, tokens, width};
  const std::size_t keys_size = round_up(key_layout.size(), cache_line / sizeof(T));
  const std::size_t values_size = round_up(value_layout.size(), cache_line / sizeof(T));
  const std::size_t scratch_size = keys_size + values_size + block_rows * tokens;
  T* const scratch = context.workspace.take<T>(context.workers * scratch_size);

  detail::for_each_head<T, Arch>(
      context, size, block_rows, bias,
      [&](std::size_t n, std::size_t head, std::size_t worker, const auto& for_each_block) {
        const std::size_t column = head * width;
        T* const keys = scratch + worker * scratch_size;
        T* const values = keys + keys_size;
        T* const scores = values + values_size;
        const kernels::PanelSource<T> key_source{k.row(n * tokens) + column, 0, 1, k.stride};
        const kernels::PanelSource<T> value_source{v.row(n * tokens) + column, 0, v.stride, 1};
        kernels::pack_panels<T, Arch>(key_layout, key_source, keys, 0, key_layout.panels());
        kernels::pack_panels<T, Arch>(value_layout, value_source, values, 0, value_layout.panels());
        for_each_block([&](std::size_t m, std::size_t rows, const T* block_bias) {
          const std::size_t map_row = (n * heads + head) * queries + m;
          kernels::attention_block<T, Arch>(
              q.row(n * queries + m) + column, q.stride, rows, {key_layout, keys},
              {value_layout, values}, scale, block_bias, tokens,
              maps ? maps + map_row * tokens : scores, tokens, out.row(n * queries + m) + column,
              out.stride, is_rounded);
        });
      });
}

/// The scale of torch.nn.MultiheadAttention: 1 / sqrt(D / A).
template <class T>
T attention_scale(std::size_t width, std::size_t heads) noexcept {
  return static_cast<T>(1.0 / std::sqrt(static_cast<double>(width) / static_cast<double>(heads)));
}

}  // namespace q2l::ops
