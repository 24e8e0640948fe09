// SPDX-License-Identifier: MIT
#pragma once

#include "query2label/cuda/lanes.cuh"
#include "query2label/cuda/warp_instructions.cuh"

namespace q2l::cuda {

#if defined(__CUDACC__)
inline namespace on_device {
#else
inline namespace on_host {
#endif

/// A row-major matrix in shared memory whose rows begin at multiples of 16 bytes.
template <class Storage>
struct SharedRows {
  Storage* data;
  int stride;  ///< elements from row to row

  Q2L_DEVICE Storage* at(int row, int column) const { return data + row * stride + column; }
};

/// f32 sums of a Rows x Columns product, spread over the lanes of a warp. Element i of a lane is in
/// row(lane, i) and column(lane, i); elements of `together` from a multiple of it on are neighbours
/// in a row. By fused multiply-adds: lanes stand 8 x 4; `Together` is 4 for sums that go to memory
/// as rows and are multiplied by rows, else 1.
template <class Arithmetic, int Rows, int Columns, int Together,
          bool TensorCores = on_tensor_cores<Arithmetic>>
struct WarpProduct {
  static constexpr int lane_rows = Rows / 8;
  static constexpr int lane_columns = Columns / 4;
  static constexpr int elements = lane_rows * lane_columns;
  static constexpr int together = Together;
  using Storage = typename Arithmetic::Storage;
  struct Sums {
    float values[elements];
  };
  PerLane<Sums> sums;

  Q2L_DEVICE static int row(int lane, int i) { return i / lane_columns * 8 + lane / 4; }
  Q2L_DEVICE static int column(int lane, int i) {
    const int j = i % lane_columns;
    return (j / Together * 4 + lane % 4) * Together + j % Together;
  }

  /// sums += a b^T for a [Rows, Depth], b [Columns, Depth].
  template <int Depth>
  Q2L_DEVICE void add_transposed(SharedRows<const Storage> a, SharedRows<const Storage> b) {
    each_lane([&](int lane) {
      float* const sum = sums[lane].values;
      Q2L_CUDA_UNROLL
      for (int k = 0; k < Depth; k += 4) {
        Pack<float, 4> x[lane_rows];
        Q2L_CUDA_UNROLL
        for (int r = 0; r < lane_rows; ++r) x[r] = load(a.at(row(lane, r * lane_columns), k));
        Q2L_CUDA_UNROLL
        for (int c = 0; c < lane_columns; ++c) {
          const Pack<float, 4> y = load(b.at(column(lane, c), k));
          Q2L_CUDA_UNROLL
          for (int d = 0; d < 4; ++d) {
            Q2L_CUDA_UNROLL
            for (int r = 0; r < lane_rows; ++r) {
              float& s = sum[r * lane_columns + c];
              s = fmaf(x[r].values[d], y.values[d], s);
            }
          }
        }
      }
    });
  }

  /// sums += a b for a [Rows, Depth], b [Depth, Columns].
  template <int Depth>
  Q2L_DEVICE void add(SharedRows<const Storage> a, SharedRows<const Storage> b) {
    static_assert(Together == 4, "columns are loaded by four");
    each_lane([&](int lane) {
      float* const sum = sums[lane].values;
      Q2L_CUDA_UNROLL
      for (int k = 0; k < Depth; k += 4) {
        Pack<float, 4> x[lane_rows];
        Q2L_CUDA_UNROLL
        for (int r = 0; r < lane_rows; ++r) x[r] = load(a.at(row(lane, r * lane_columns), k));
        Q2L_CUDA_UNROLL
        for (int d = 0; d < 4; ++d) {
          Q2L_CUDA_UNROLL
          for (int c = 0; c < lane_columns; c += 4) {
            const Pack<float, 4> y = load(b.at(k + d, column(lane, c)));
            Q2L_CUDA_UNROLL
            for (int i = 0; i < 4 * lane_rows; ++i) {
              float& s = sum[i / 4 * lane_columns + c + i % 4];
              s = fmaf(x[i / 4].values[d], y.values[i % 4], s);
            }
          }
        }
      }
    });
  }

 private:
  Q2L_DEVICE static Pack<float, 4> load(const Storage* from) {
    const Pack<Storage, 4> bits = *reinterpret_cast<const Pack<Storage, 4>*>(from);
    Pack<float, 4> out;
    Q2L_CUDA_UNROLL
    for (int i = 0; i < 4; ++i) out.values[i] = Arithmetic::decode(bits.values[i]);
    return out;
  }
};

/// On tensor cores: tiles of 16 x 8 sums.
template <class Arithmetic, int Rows, int Columns, int Together>
struct WarpProduct<Arithmetic, Rows, Columns, Together, true> {
  static constexpr int tile_rows = Rows / 16;
  static constexpr int tile_columns = Columns / 8;
  static constexpr int elements = tile_rows * tile_columns * 4;
  static constexpr int together = 2;
  using Storage = typename Arithmetic::Storage;
  static constexpr int depth_step = 2 * copy_bytes / static_cast<int>(sizeof(Storage));
  static constexpr int half_step = depth_step / 2;  ///< elements of a fragment's row, 16 bytes
  struct Sums {
    float values[elements];
  };
  PerLane<Sums> sums;

  Q2L_DEVICE static int row(int lane, int i) {
    return i / (4 * tile_columns) * 16 + i % 4 / 2 * 8 + lane / 4;
  }
  Q2L_DEVICE static int column(int lane, int i) {
    return i / 4 % tile_columns * 8 + lane % 4 * 2 + i % 2;
  }

  template <int Depth>
  Q2L_DEVICE void add_transposed(SharedRows<const Storage> a, SharedRows<const Storage> b) {
    add_products<Depth>(a, [&](int k, int column) { return pair_of_rows(b, column, k); });
  }

  template <int Depth>
  Q2L_DEVICE void add(SharedRows<const Storage> a, SharedRows<const Storage> b) {
    add_products<Depth>(a, [&](int k, int column) { return pair_of_columns(b, k, column); });
  }

 private:
  /// `b_pair(k, column)` gives B at depth k for the two tiles from `column` on.
  template <int Depth, class Load>
  Q2L_DEVICE void add_products(SharedRows<const Storage> a, Load b_pair) {
    Q2L_CUDA_UNROLL
    for (int k = 0; k < Depth; k += depth_step) {
      Fragment x[tile_rows];
      Q2L_CUDA_UNROLL
      for (int r = 0; r < tile_rows; ++r) x[r] = rows_of_a(a, r * 16, k);
      Q2L_CUDA_UNROLL
      for (int c = 0; c < tile_columns; c += 2) {
        const Fragment y = b_pair(k, c * 8);
        Q2L_CUDA_UNROLL
        for (int i = 0; i < 2 * tile_rows; ++i) {
          multiply_fragments<Arithmetic>(x[i / 2], y, i % 2 * 2, sums,
                                         (i / 2 * tile_columns + c + i % 2) * 4);
        }
      }
    }
  }

  /// a[row .. row + 16, k .. k + depth_step].
  Q2L_DEVICE static Fragment rows_of_a(SharedRows<const Storage> a, int row, int k) {
    PerLane<const void*> rows;
    each_lane([&](int lane) { rows[lane] = a.at(row + lane % 16, k + lane / 16 * half_step); });
    return as_factors(load_matrices<false>(rows));
  }

  /// The transposed rows b[column .. column + 16] at depth k: registers 0, 1 and 2, 3.
  Q2L_DEVICE static Fragment pair_of_rows(SharedRows<const Storage> b, int column, int k) {
    PerLane<const void*> rows;
    each_lane([&](int lane) {
      rows[lane] = b.at(column + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * half_step);
    });
    return as_factors(load_matrices<false>(rows));
  }

  /// The columns b[.., column .. column + 16] at depth k: registers 0, 1 and 2, 3.
  Q2L_DEVICE static Fragment pair_of_columns(SharedRows<const Storage> b, int k, int column) {
    if constexpr (sizeof(Storage) == 2) {
      PerLane<const void*> rows;
      each_lane([&](int lane) {
        rows[lane] = b.at(k + lane / 8 % 2 * 8 + lane % 8, column + lane / 16 * 8);
      });
      return load_matrices<true>(rows);
    } else {
      Fragment out;
      each_lane([&](int lane) {
        Q2L_CUDA_UNROLL
        for (int i = 0; i < 4; ++i) {
          out.at(lane, i) = bits_of(*b.at(k + i % 2 * 4 + lane % 4, column + i / 2 * 8 + lane / 4));
        }
      });
      return as_factors(out);
    }
  }

  /// What a product takes of elements as stored: f32 is rounded to tf32.
  Q2L_DEVICE static Fragment as_factors(Fragment stored) {
    if constexpr (sizeof(Storage) == 4) {
      each_lane([&](int lane) {
        Q2L_CUDA_UNROLL
        for (int i = 0; i < 4; ++i) stored.at(lane, i) = tf32_bits(stored.at(lane, i));
      });
    }
    return stored;
  }
};

}  // namespace on_device or on_host

}  // namespace q2l::cuda
