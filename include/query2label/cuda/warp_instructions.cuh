// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "query2label/cuda/lanes.cuh"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace q2l::cuda {

#if defined(__CUDACC__)
inline namespace on_device {
#else
inline namespace on_host {
#endif

/// The bits of a float, and a float of these bits.
Q2L_DEVICE std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
Q2L_DEVICE float float_of(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// How numbers are stored and multiplied. All sums are f32.

/// f32 throughout, by fused multiply-adds.
struct F32Arithmetic {
  using Storage = float;
  static constexpr bool has_tensor_cores = false;
  Q2L_DEVICE static float decode(float value) { return value; }
  Q2L_DEVICE static float encode(float value) { return value; }
};

/// f32 in memory; factors rounded to 10 fraction bits.
struct Tf32Arithmetic : F32Arithmetic {
  static constexpr bool has_tensor_cores = true;
};

/// The bits of IEEE half precision; rounded to nearest, ties to even.
struct F16Arithmetic {
  using Storage = std::uint16_t;
  static constexpr bool has_tensor_cores = true;
#if defined(__CUDACC__)
  Q2L_DEVICE static float decode(Storage bits) { return __half2float(__ushort_as_half(bits)); }
  Q2L_DEVICE static Storage encode(float value) { return __half_as_ushort(__float2half_rn(value)); }
#else
  static float decode(Storage bits) {
    const std::uint32_t sign = (bits & 0x8000u) << 16, rest = (bits & 0x7FFFu) << 13;
    const bool is_finite = (bits & 0x7C00u) != 0x7C00u;
    const float magnitude = is_finite ? float_of(rest) * 0x1p112f : float_of(rest | 0x7F800000u);
    return float_of(bits_of(magnitude) | sign);
  }
  static Storage encode(float value) {
    if (value != value) return 0x7FFF;
    const std::uint32_t sign = bits_of(value) >> 16 & 0x8000u, rest = bits_of(value) & 0x7FFFFFFFu;
    std::uint32_t bits = (rest + 0xFFFu + (rest >> 13 & 1u)) >> 13;
    bits = bits < (143u << 10) ? bits - (112u << 10) : 0x7C00u;
    // 0.5 has the unit of the numbers below 2^-14.
    if (rest < 113u << 23) bits = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
    return static_cast<Storage>(sign | bits);
  }
#endif
};

/// The bits of bfloat16; rounded to nearest, ties to even.
struct Bf16Arithmetic {
  using Storage = std::uint16_t;
  static constexpr bool has_tensor_cores = true;
  Q2L_DEVICE static float decode(Storage bits) { return float_of(std::uint32_t{bits} << 16); }
#if defined(__CUDACC__)
  Q2L_DEVICE static Storage encode(float value) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
#else
  static Storage encode(float value) {
    if (value != value) return 0x7FFF;
    const std::uint32_t bits = bits_of(value);
    return static_cast<Storage>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
#endif
};

/// Whether this compilation multiplies on tensor cores; cards before 8.0 take fused multiply-adds.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <class Arithmetic>
inline constexpr bool on_tensor_cores = false;
#else
template <class Arithmetic>
inline constexpr bool on_tensor_cores = Arithmetic::has_tensor_cores;
#endif

/// The registers of a warp that hold one or two operands of a tensor-core product.
struct Fragment {
  PerLane<Pack<std::uint32_t, 4>> lanes;

  Q2L_DEVICE std::uint32_t& at(int lane, int i) { return lanes[lane].values[i]; }
  Q2L_DEVICE const std::uint32_t& at(int lane, int i) const { return lanes[lane].values[i]; }
};

/// The bits of an f32 rounded to tf32, to nearest, ties away from zero.
Q2L_DEVICE std::uint32_t tf32_bits(std::uint32_t bits) {
#if defined(__CUDACC__)
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(float_of(bits)));
#endif
#else
  if (std::isfinite(float_of(bits))) bits = (bits + 0x1000u) & ~0x1FFFu;
#endif
  return bits;
}

/// Four matrices of 8 rows of 16 bytes: lane 8 m + r names row r of matrix m. Register m of lane l
/// gets bytes 4 (l % 4) and the next three of row l / 4. If transposed, of matrices of 8 x 8 16-bit
/// elements: elements l / 4 of rows 2 (l % 4) and the next.
template <bool Transposed>
Q2L_DEVICE Fragment load_matrices(const PerLane<const void*>& rows) {
  Fragment out;
#if defined(__CUDACC__)
#if __CUDA_ARCH__ >= 800
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(rows.values[0]));
  std::uint32_t(&r)[4] = out.lanes.values[0].values;
#define Q2L_LDMATRIX(kind)                                                                \
  asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0, %1, %2, %3}, [%4];" \
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                           \
               : "r"(address)                                                             \
               : "memory")
  if constexpr (Transposed) {
    Q2L_LDMATRIX(".trans");
  } else {
    Q2L_LDMATRIX("");
  }
#undef Q2L_LDMATRIX
#endif
#else
  each_lane([&](int lane) {
    for (int m = 0; m < 4; ++m) {
      const auto row = [&](int r) { return static_cast<const std::byte*>(rows[8 * m + r]); };
      std::uint16_t halves[2];
      for (int i = 0; i < 2; ++i) {
        const int along = lane % 4 * 2 + i, across = lane / 4;
        std::memcpy(&halves[i], Transposed ? row(along) + 2 * across : row(across) + 2 * along, 2);
      }
      out.at(lane, m) = halves[0] | std::uint32_t{halves[1]} << 16;
    }
  });
#endif
  return out;
}

/// sum[lane][first ..] += A B on tensor cores: A is 16 x Depth, B is Depth x 8 from register
/// `b_first` of `b` on, Depth 16 for 16-bit elements and 8 for tf32; layouts of PTX's mma.m16n8.
/// Lane l's four sums are rows l / 4 and 8 below, columns 2 (l % 4) and the next.
template <class Arithmetic, class Sums>
Q2L_DEVICE void multiply_fragments(const Fragment& a, const Fragment& b, int b_first, Sums& sums,
                                   int first) {
#if defined(__CUDACC__)
#if __CUDA_ARCH__ >= 800
  const std::uint32_t(&x)[4] = a.lanes.values[0].values;
  const std::uint32_t y0 = b.lanes.values[0].values[b_first];
  const std::uint32_t y1 = b.lanes.values[0].values[b_first + 1];
  float* const s = sums.values[0].values + first;
#define Q2L_MMA(shape_and_types)                                                  \
  asm volatile("mma.sync.aligned." shape_and_types                                \
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])                   \
               : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y0), "r"(y1))
  if constexpr (std::is_same_v<Arithmetic, F16Arithmetic>) {
    Q2L_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  } else if constexpr (std::is_same_v<Arithmetic, Bf16Arithmetic>) {
    Q2L_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else {
    Q2L_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
  }
#undef Q2L_MMA
#endif
#else
  constexpr bool is_wide = sizeof(typename Arithmetic::Storage) == 4;
  constexpr int depth = is_wide ? 8 : 16;
  // The element of depth k of the row or column `line` of eight.
  const auto element = [](const Fragment& f, int line, int k, int register_low, int register_high) {
    const int step = is_wide ? 1 : 2;
    const int lane = line * 4 + k % (4 * step) / step;
    const std::uint32_t bits = f.at(lane, k / (4 * step) == 0 ? register_low : register_high);
    if constexpr (is_wide) {
      return float_of(bits);
    } else {
      return Arithmetic::decode(static_cast<std::uint16_t>(bits >> 16 * (k % 2)));
    }
  };
  each_lane([&](int lane) {
    for (int i = 0; i < 4; ++i) {
      float& sum = sums[lane].values[first + i];
      for (int k = 0; k < depth; ++k) {
        sum += element(a, lane / 4, k, i / 2, i / 2 + 2) *
               element(b, lane % 4 * 2 + i % 2, k, b_first, b_first + 1);
      }
    }
  });
#endif
}

}  // namespace on_device or on_host

}  // namespace q2l::cuda
