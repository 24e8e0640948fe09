// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/cuda/lanes.cuh"
#include "query2label/cuda/warp_product.cuh"

namespace q2l::cuda {

#if defined(__CUDACC__)
inline namespace on_device {
#else
inline namespace on_host {
#endif

/// The shared memory of a block: queries, keys, values, weights, scores, factors, in this order.
template <class Tiling>
struct SharedTiles {
  using Storage = typename Tiling::Storage;
  std::byte* bytes;

  Q2L_DEVICE SharedRows<Storage> queries(int warp) const {
    return rows(0, warp * Tiling::rows, Tiling::slice_stride);
  }
  Q2L_DEVICE SharedRows<Storage> keys(int warp) const {
    return rows(Tiling::query_bytes, warp * Tiling::keys, Tiling::slice_stride);
  }
  Q2L_DEVICE SharedRows<Storage> values(int warp) const {
    return rows(Tiling::query_bytes + Tiling::key_bytes, warp * Tiling::keys, Tiling::value_stride);
  }
  Q2L_DEVICE SharedRows<Storage> weights() const {
    return rows(weights_at, 0, Tiling::weight_stride);
  }
  /// What a warp's slice adds to the scores.
  Q2L_DEVICE SharedRows<float> scores(int warp) const {
    constexpr int stride = Tiling::score_stride;
    return {reinterpret_cast<float*>(bytes + weights_at + Tiling::weight_bytes) +
                warp * Tiling::rows * stride,
            stride};
  }
  /// By what each row's sums are to be multiplied next.
  Q2L_DEVICE float* factors() const {
    return reinterpret_cast<float*>(bytes + weights_at + Tiling::weight_bytes +
                                    Tiling::score_bytes);
  }

 private:
  static constexpr int weights_at = Tiling::query_bytes + Tiling::key_bytes + Tiling::value_bytes;

  /// The rows from `first` on of those that begin at `offset`.
  Q2L_DEVICE SharedRows<Storage> rows(int offset, int first, int stride) const {
    return {reinterpret_cast<Storage*>(bytes + offset) + first * stride, stride};
  }
};

}  // namespace on_device or on_host

}  // namespace q2l::cuda
