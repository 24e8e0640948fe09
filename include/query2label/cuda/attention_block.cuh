// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "query2label/cuda/attention_task.cuh"
#include "query2label/cuda/attention_tiling.cuh"
#include "query2label/cuda/lanes.cuh"
#include "query2label/cuda/shared_tiles.cuh"
#include "query2label/cuda/warp_product.cuh"

namespace q2l::cuda {

#if defined(__CUDACC__)
inline namespace on_device {
#else
inline namespace on_host {
#endif

/// Attention of a block's queries over all tokens, with a softmax that is corrected whenever a
/// larger score turns up (arXiv 1805.02867):
///   m' = max(m, s),  sum' = sum e^(m - m') + e^(s - m'),  out' = out e^(m - m') + e^(s - m') v
/// `IsWhole`: the tiling's columns cover the width, so that the queries stay in shared memory. Else
/// queries and keys pass through it a slice of columns at a time, and each block of output columns
/// adds up all scores itself.
template <class Tiling, bool IsWhole>
class AttentionBlock {
 public:
  using Arithmetic = typename Tiling::Arithmetic;
  using Storage = typename Tiling::Storage;

  Q2L_DEVICE AttentionBlock(const AttentionTask<Storage>& task, const BlockPlace& place,
                            std::byte* shared)
      : task_(task), place_(place), shared_{shared} {}

  Q2L_DEVICE void run(const Block& block) {
    block.each_warp<Tiling::warps>([&](int warp) { begin(warp); });
    for (int key = 0; key < task_.tokens; key += Tiling::keys) {
      block.each_warp<Tiling::warps>([&](int warp) { add_up_scores(warp, key); });
      block.sync();
      block.each_warp<Tiling::warps>([&](int warp) { weigh(warp, key); });
      block.sync();
      block.each_warp<Tiling::warps>([&](int warp) { gather(warp, key); });
    }
    block.sync();
    block.each_warp<Tiling::warps>([&](int warp) { finish_rows(warp); });
    block.sync();
    block.each_warp<Tiling::warps>([&](int warp) { store(warp); });
  }

 private:
  using ScoreProduct = WarpProduct<Arithmetic, Tiling::rows, Tiling::keys, 1>;
  using OutProduct = WarpProduct<Arithmetic, Tiling::rows, Tiling::slice, 4>;

  /// Of a row, the largest score so far, in powers of two, and the sum of 2^(score - max).
  struct RowState {
    float max = -INFINITY;
    float sum = 0.0f;
  };
  struct WarpState {
    OutProduct out;
    PerLane<RowState> rows[Tiling::passes];
    CopyQueue copies;
  };

  Q2L_DEVICE void begin(int warp) {
    WarpState& state = states_[warp];
    each_lane([&](int lane) {
      Q2L_CUDA_UNROLL
      for (int i = 0; i < OutProduct::elements; ++i) state.out.sums[lane].values[i] = 0.0f;
      Q2L_CUDA_UNROLL
      for (int p = 0; p < Tiling::passes; ++p) state.rows[p][lane] = RowState{};
    });
    if constexpr (IsWhole) {
      copy_queries(warp, 0);
      copy_keys(warp, 0, 0);
      state.copies.end_group();
    }
  }

  /// Writes what this warp's columns add to the scores of the keys from `key` on.
  Q2L_DEVICE void add_up_scores(int warp, int key) {
    WarpState& state = states_[warp];
    copy_rows<Tiling::keys>(state.copies, shared_.values(warp), head(task_.v), task_.v.row_stride,
                            key, task_.tokens, place_.first_column + warp * Tiling::slice);
    state.copies.end_group();
    ScoreProduct product;
    each_lane([&](int lane) {
      Q2L_CUDA_UNROLL
      for (int i = 0; i < ScoreProduct::elements; ++i) product.sums[lane].values[i] = 0.0f;
    });
    if constexpr (IsWhole) {
      state.copies.template wait<1>();
      product.template add_transposed<Tiling::slice>(constant(shared_.queries(warp)),
                                                     constant(shared_.keys(warp)));
    } else {
      for (int column = 0; column < task_.width; column += Tiling::columns) {
        copy_queries(warp, column);
        copy_keys(warp, key, column);
        state.copies.end_group();
        state.copies.template wait<0>();
        product.template add_transposed<Tiling::slice>(constant(shared_.queries(warp)),
                                                       constant(shared_.keys(warp)));
        sync_warp();
      }
    }
    const SharedRows<float> scores = shared_.scores(warp);
    each_lane([&](int lane) {
      Q2L_CUDA_UNROLL
      for (int i = 0; i < ScoreProduct::elements; i += ScoreProduct::together) {
        Pack<float, ScoreProduct::together> pack;
        Q2L_CUDA_UNROLL
        for (int j = 0; j < ScoreProduct::together; ++j) {
          pack.values[j] = product.sums[lane].values[i + j];
        }
        float* const to = scores.at(ScoreProduct::row(lane, i), ScoreProduct::column(lane, i));
        *reinterpret_cast<decltype(pack)*>(to) = pack;
      }
    });
  }

  /// The softmax's step for this warp's rows: weights relative to the largest score so far, and the
  /// factors that correct what was summed before.
  Q2L_DEVICE void weigh(int warp, int key) {
    constexpr float log2_e = 1.44269504088896340736f;
    Q2L_CUDA_UNROLL
    for (int p = 0; p < Tiling::passes; ++p) {
      PerLane<RowState>& state = states_[warp].rows[p];
      PerLane<float> scores, weights, factors;
      each_lane([&](int lane) {
        const int row = row_of(warp, p, lane);
        const int token = key + lane % Tiling::keys;
        float sum = 0.0f;
        Q2L_CUDA_UNROLL
        for (int w = 0; w < Tiling::warps; ++w) {
          sum += *shared_.scores(w).at(row, lane % Tiling::keys);
        }
        scores[lane] = token < task_.tokens ? sum * (task_.scale * log2_e) : -INFINITY;
        // Kept as they are until the row's maximum and sum are known.
        if (float* const map = map_row(row); map && token < task_.tokens) map[token] = scores[lane];
      });
      const PerLane<float> step_max = group_max<Tiling::keys>(scores);
      each_lane([&](int lane) {
        const float max = fmaxf(state[lane].max, step_max[lane]);
        const float base = max == -INFINITY ? 0.0f : max;  // -inf - -inf is no number
        weights[lane] = exp2f(scores[lane] - base);
        factors[lane] = exp2f(state[lane].max - base);
        state[lane].max = max;
      });
      const PerLane<float> step_sum = group_sum<Tiling::keys>(weights);
      each_lane([&](int lane) {
        const int row = row_of(warp, p, lane);
        state[lane].sum = state[lane].sum * factors[lane] + step_sum[lane];
        *shared_.weights().at(row, lane % Tiling::keys) = Arithmetic::encode(weights[lane]);
        if (lane % Tiling::keys == 0) shared_.factors()[row] = factors[lane];
      });
    }
  }

  /// Corrects this warp's sums and adds the weighted values.
  Q2L_DEVICE void gather(int warp, int key) {
    WarpState& state = states_[warp];
    scale_rows(state.out);
    if constexpr (IsWhole) {
      copy_keys(warp, key + Tiling::keys, 0);
      state.copies.end_group();
      state.copies.template wait<1>();
    }
    state.out.template add<Tiling::keys>(constant(shared_.weights()),
                                         constant(shared_.values(warp)));
    sync_warp();  // the values are overwritten next
  }

  /// Turns this warp's rows of scores into weights and publishes what divides the sums.
  Q2L_DEVICE void finish_rows(int warp) {
    Q2L_CUDA_UNROLL
    for (int p = 0; p < Tiling::passes; ++p) {
      each_lane([&](int lane) {
        const RowState& state = states_[warp].rows[p][lane];
        const int row = row_of(warp, p, lane);
        const float factor = 1.0f / state.sum;
        if (lane % Tiling::keys == 0) shared_.factors()[row] = factor;
        if (float* const map = map_row(row)) {
          for (int token = lane % Tiling::keys; token < task_.tokens; token += Tiling::keys) {
            map[token] = exp2f(map[token] - state.max) * factor;
          }
        }
      });
    }
  }

  Q2L_DEVICE void store(int warp) {
    states_[warp].copies.template wait<0>();  // the keys beyond the last: none outlives the block
    OutProduct& out = states_[warp].out;
    scale_rows(out);
    Storage* const base = head(task_.out);
    each_lane([&](int lane) {
      Q2L_CUDA_UNROLL
      for (int i = 0; i < OutProduct::elements; i += OutProduct::together) {
        const int row = place_.first_row + OutProduct::row(lane, i);
        const int column = place_.first_column + warp * Tiling::slice + OutProduct::column(lane, i);
        if (row >= task_.queries || column >= task_.width) continue;
        Pack<Storage, OutProduct::together> pack;
        Q2L_CUDA_UNROLL
        for (int j = 0; j < OutProduct::together; ++j) {
          pack.values[j] = Arithmetic::encode(out.sums[lane].values[i + j]);
        }
        *reinterpret_cast<decltype(pack)*>(base + row * task_.out.row_stride + column) = pack;
      }
    });
  }

  Q2L_DEVICE void scale_rows(OutProduct& out) const {
    each_lane([&](int lane) {
      Q2L_CUDA_UNROLL
      for (int i = 0; i < OutProduct::elements; ++i) {
        out.sums[lane].values[i] *= shared_.factors()[OutProduct::row(lane, i)];
      }
    });
  }

  Q2L_DEVICE void copy_queries(int warp, int column) {
    copy_rows<Tiling::rows>(states_[warp].copies, shared_.queries(warp), head(task_.q),
                            task_.q.row_stride, place_.first_row, task_.queries,
                            column + warp * Tiling::slice);
  }
  Q2L_DEVICE void copy_keys(int warp, int key, int column) {
    copy_rows<Tiling::keys>(states_[warp].copies, shared_.keys(warp), head(task_.k),
                            task_.k.row_stride, key, task_.tokens, column + warp * Tiling::slice);
  }

  /// Begins to copy a slice of `Rows` rows; zeros stand for what lies beyond `end_row` and the
  /// width.
  template <int Rows>
  Q2L_DEVICE void copy_rows(CopyQueue& copies, SharedRows<Storage> to, const Storage* from,
                            std::int64_t stride, int first_row, int end_row, int first_column) {
    constexpr int step = Tiling::copy_elements;
    constexpr int row_copies = Tiling::slice / step;
    Q2L_CUDA_UNROLL
    for (int i = 0; i < Rows * row_copies; i += warp_lanes) {
      each_lane([&](int lane) {
        const int r = (i + lane) / row_copies;
        const int c = (i + lane) % row_copies * step;
        if (r >= Rows) return;
        const int row = first_row + r;
        const int column = first_column + c;
        const bool is_inside = row < end_row && column < task_.width;
        copies.copy(to.at(r, c), is_inside ? from + row * stride + column : from, is_inside);
      });
    }
  }

  template <class Element>
  Q2L_DEVICE Element* head(const HeadRows<Element>& rows) const {
    return rows.data + place_.image * rows.batch_stride + place_.head * rows.head_stride;
  }

  /// The block's row that a lane has in pass `p` of its warp's softmax.
  Q2L_DEVICE static int row_of(int warp, int p, int lane) {
    return warp * Tiling::warp_rows + p * Tiling::pass_rows + lane / Tiling::keys;
  }

  /// The map of a row, or null if none is asked for here.
  Q2L_DEVICE float* map_row(int row) const {
    const int query = place_.first_row + row;
    if (!task_.maps || place_.first_column > 0 || query >= task_.queries) return nullptr;
    const std::int64_t pair = static_cast<std::int64_t>(place_.image) * task_.heads + place_.head;
    return task_.maps + (pair * task_.queries + query) * task_.tokens;
  }

  Q2L_DEVICE static SharedRows<const Storage> constant(SharedRows<Storage> rows) {
    return {rows.data, rows.stride};
  }

  const AttentionTask<Storage>& task_;
  BlockPlace place_;
  SharedTiles<Tiling> shared_;
  PerWarp<WarpState, Tiling::warps> states_;
};

}  // namespace on_device or on_host

}  // namespace q2l::cuda
