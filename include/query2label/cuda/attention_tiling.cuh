// SPDX-License-Identifier: MIT
#pragma once

#include "query2label/cuda/lanes.cuh"
#include "query2label/cuda/warp_instructions.cuh"

namespace q2l::cuda {

/// How a block of threads divides attention: it owns `Rows` queries of one head and `Columns`
/// columns of their output, and walks the keys in steps of `Keys`. Its warps divide the columns:
/// each holds its own slice of queries, keys, values and sums, adds up its share of the scores, and
/// only those shares are exchanged.
template <class Arithmetic_, int Columns_, int Rows_, int Keys_>
struct AttentionTiling {
  using Arithmetic = Arithmetic_;
  using Storage = typename Arithmetic::Storage;

  static constexpr int rows = Rows_;
  static constexpr int keys = Keys_;
  static constexpr int warps = Columns_ >= 128 ? 8 : Columns_ >= 64 ? 4 : 2;
  static constexpr int threads = warps * warp_lanes;
  static constexpr int slice = (Columns_ + 16 * warps - 1) / (16 * warps) * 16;
  static constexpr int columns = warps * slice;
  static_assert(rows % 16 == 0 && (keys == 16 || keys == 32));

  /// The softmax: a warp has `warp_rows` of the rows and does `pass_rows` of them at once.
  static constexpr int warp_rows = rows / warps;
  static constexpr int pass_rows = warp_lanes / keys;
  static constexpr int passes = warp_rows / pass_rows;
  static_assert(warp_rows * warps == rows && passes * pass_rows == warp_rows);

  // Rows in shared memory are longer than their elements, which spreads the words that a warp reads
  // at once over the banks: by 16 bytes where it reads along rows, by 8 words where tensor cores
  // read words down the columns (values in tf32) and where it writes pairs (scores).
  static constexpr int copy_elements = copy_bytes / static_cast<int>(sizeof(Storage));
  static constexpr int slice_stride = slice + copy_elements;
  static constexpr int value_stride = slice + (Arithmetic::has_tensor_cores ? 8 : copy_elements);
  static constexpr int weight_stride = keys + copy_elements;
  static constexpr int score_stride = keys + 8;

  static constexpr int element_bytes = static_cast<int>(sizeof(Storage));
  static constexpr int query_bytes = warps * rows * slice_stride * element_bytes;
  static constexpr int key_bytes = warps * keys * slice_stride * element_bytes;
  static constexpr int value_bytes = warps * keys * value_stride * element_bytes;
  static constexpr int weight_bytes = rows * weight_stride * element_bytes;
  static constexpr int score_bytes = warps * rows * score_stride * static_cast<int>(sizeof(float));
  static constexpr int factor_bytes = rows * static_cast<int>(sizeof(float));
  static constexpr int shared_bytes =
      query_bytes + key_bytes + value_bytes + weight_bytes + score_bytes + factor_bytes;

  /// Output sums that a lane keeps in registers.
  static constexpr int lane_sums = rows * slice / warp_lanes;
  /// Blocks that should fit on a multiprocessor at once: 64 Ki registers, 227 KiB shared (9.0).
  static constexpr int resident_blocks = lane_sums <= 64 && shared_bytes <= 113 * 1024 ? 2 : 1;
};

}  // namespace q2l::cuda
