// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

namespace q2l::simd {

/// How an instruction set adds products of operands of one type to a vector of sums, the step that
/// every product of the library repeats. The right operand (weights of type `W`) is stored
/// [depth / group][columns][group]: `group` neighbours in depth stand together. Its left operand is
/// of type `Left`, one row after the other. For each group, step s of `steps` does
///   sum[column] += left[group * i + ...] * right[i][column][...]
/// over all of the group, or over element s of it. `store_left` writes a batch of floats as left
/// operands: rounded, for int8 to the nearest integer (ties to even), to which it adds `offset`.
/// `Arch` must be the widest instruction set this translation unit is compiled for: macros choose
/// the specialisations.
template <class T, class W, class Arch>
struct DotProduct;

/// Rounded to nearest, ties to even; processors with an instruction for it take subnormals for
/// zero.
template <class Arch>
inline void store_bfloat16(Batch<float, Arch> value, bfloat16* p) noexcept {
#if defined(__AVX512BF16__)
  if constexpr (is_avx512<Arch>) {
    const __m256bh rounded = _mm512_cvtneps_pbh(value);
    std::memcpy(p, &rounded, sizeof rounded);
    return;
  }
#endif
  alignas(64) float lanes[Batch<float, Arch>::size];
  value.store_aligned(lanes);
  for (std::size_t i = 0; i < Batch<float, Arch>::size; ++i) p[i] = to_bfloat16(lanes[i]);
}

/// float with float and double with double: fused multiply-adds, one element at a time.
template <class T, class Arch>
struct DotProduct<T, T, Arch> {
  using Left = T;
  using Sum = Batch<T, Arch>;
  static constexpr std::size_t group = 1;
  static constexpr std::size_t steps = 1;

  template <std::size_t Step>
  static Batch<T, Arch> right(const T* p) noexcept {
    return load_once<T, Arch>(p);
  }
  template <std::size_t Step>
  static Batch<T, Arch> left(const T* p) noexcept {
    return Batch<T, Arch>(*p);
  }
  static Sum add(Batch<T, Arch> left, Batch<T, Arch> right, Sum sum) noexcept {
    return simd::fma<T, Arch>(left, right, sum);
  }
  static void store_left(Batch<T, Arch> value, T* p) noexcept { value.store_unaligned(p); }
};

#if defined(__AVX512BF16__)
/// Pairs of bfloat16 on processors that multiply them: two products a lane, subnormal operands and
/// results as zero, each addition rounded to nearest. Intel's do it at half the rate of float's
/// multiply-adds, where it is what AMX leaves over (simd/amx_tiles.hpp).
template <class Arch>
requires(is_avx512<Arch>) struct DotProduct<float, bfloat16, Arch> {
  using Left = bfloat16;
  using Sum = Batch<float, Arch>;
  static constexpr std::size_t group = 2;
  static constexpr std::size_t steps = 1;

  template <std::size_t Step>
  static __m512i right(const bfloat16* p) noexcept {
    return _mm512_loadu_si512(p);
  }
  template <std::size_t Step>
  static __m512i left(const bfloat16* p) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static Sum add(__m512i left, __m512i right, Sum sum) noexcept {
    return _mm512_dpbf16_ps(sum, std::bit_cast<__m512bh>(left), std::bit_cast<__m512bh>(right));
  }
  static void store_left(Batch<float, Arch> value, bfloat16* p) noexcept {
    store_bfloat16<Arch>(value, p);
  }
};
#else
/// bfloat16 weights with float on the left: weights become floats, exactly, in the registers.
template <class Arch>
struct DotProduct<float, bfloat16, Arch> {
  using Left = float;
  using Sum = Batch<float, Arch>;
  static constexpr std::size_t group = 2;
  static constexpr std::size_t steps = 2;

  /// The lower (step 0) or the upper half of each 32-bit pair.
  template <std::size_t Step>
  static Batch<float, Arch> right(const bfloat16* p) noexcept {
#if defined(__AVX512BW__)
    if constexpr (is_avx512<Arch> && Step == 1) {  // no more than a load
      return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(0xAAAAAAAA, p));
    }
#endif
    using Register = typename Batch<float, Arch>::register_type;
    using Bits [[gnu::vector_size(sizeof(Register))]] = std::uint32_t;
    Bits pairs;
    std::memcpy(&pairs, p, sizeof pairs);
    return std::bit_cast<Register>(Step == 0 ? pairs << 16 : pairs & 0xFFFF0000u);
  }
  template <std::size_t Step>
  static Batch<float, Arch> left(const float* p) noexcept {
    return Batch<float, Arch>(p[Step]);
  }
  static Sum add(Batch<float, Arch> left, Batch<float, Arch> right, Sum sum) noexcept {
    return simd::fma<float, Arch>(left, right, sum);
  }
  static void store_left(Batch<float, Arch> value, float* p) noexcept { value.store_unaligned(p); }
};
#endif

/// Whether products of bfloat16 weights round their left operands, too; else those stay float.
template <class Arch>
inline constexpr bool multiplies_bfloat16 =
    std::is_same_v<typename DotProduct<float, bfloat16, Arch>::Left, bfloat16>;

/// Exact up to 2^24, else rounded to nearest.
template <class Arch>
inline Batch<float, Arch> to_float(Batch<std::int32_t, Arch> value) noexcept {
  using Register = typename Batch<float, Arch>::register_type;
  using Ints [[gnu::vector_size(sizeof(Register))]] = std::int32_t;
  using Floats [[gnu::vector_size(sizeof(Register))]] = float;
  // GCC 12 warns of its own AVX-512 intrinsics for this.
  return std::bit_cast<Register>(__builtin_convertvector(std::bit_cast<Ints>(value.data), Floats));
}

// int8: weights of -127 .. 127 with 8-bit numbers on the left, which were stored with `left_offset`
// taken off; sums are exact in int32, which those of a chunk of depth (kernels/matmul_tile.hpp)
// fit. No form saturates, so all give the same bits.

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define Q2L_VNNI 1
namespace detail {
/// The instruction `vpdpbusd` on 64 bytes.
struct Vnni {
  using Register = __m512i;
  static Register load(const void* p) noexcept { return _mm512_loadu_si512(p); }
  static Register broadcast(std::int32_t lane) noexcept { return _mm512_set1_epi32(lane); }
  static Register add(Register sum, Register left, Register right) noexcept {
    return _mm512_dpbusd_epi32(sum, left, right);
  }
  static __m128i to_bytes(__m512 value, std::int32_t offset) noexcept {
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(value), broadcast(offset)));
  }
};
}  // namespace detail
#elif defined(__AVXVNNI__)
#define Q2L_VNNI 1
namespace detail {
/// The instruction `vpdpbusd` on 32 bytes, on processors without AVX-512.
struct Vnni {
  using Register = __m256i;
  static Register load(const void* p) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static Register broadcast(std::int32_t lane) noexcept { return _mm256_set1_epi32(lane); }
  static Register add(Register sum, Register left, Register right) noexcept {
    return _mm256_dpbusd_avx_epi32(sum, left, right);
  }
  static __m128i to_bytes(__m256 value, std::int32_t offset) noexcept {
    const __m256i number = _mm256_add_epi32(_mm256_cvtps_epi32(value), broadcast(offset));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(number), _mm256_extracti128_si256(number, 1));
    return _mm_packus_epi16(words, words);
  }
};
}  // namespace detail
#endif

#if defined(Q2L_VNNI)
/// Four unsigned bytes with four signed ones a lane.
template <class Arch>
requires(sizeof(Batch<float, Arch>) ==
         sizeof(detail::Vnni::Register)) struct DotProduct<float, std::int8_t, Arch> {
  using Left = std::uint8_t;
  using Register = detail::Vnni::Register;
  /// Kept as a Register, GCC 12 takes the sums for two types of vector, copies each one before and
  /// after its instruction and runs out of registers (6 x 4 vectors of 64 bytes: 86 instructions a
  /// group of depth, 48 of them copies, instead of 38).
  struct Sum {
    using Lanes [[gnu::vector_size(sizeof(Register))]] = std::int32_t;
    Lanes lanes;

    Sum() = default;
    explicit Sum(std::int32_t value) noexcept : lanes(value - Lanes{}) {}
    static Sum load_unaligned(const std::int32_t* p) noexcept {
      Sum sum;
      std::memcpy(&sum.lanes, p, sizeof sum.lanes);
      return sum;
    }
    operator Batch<std::int32_t, Arch>() const noexcept { return std::bit_cast<Register>(lanes); }
  };
  static constexpr std::size_t group = 4;
  static constexpr std::size_t steps = 1;
  /// What is taken off a number of 0 .. 255 with this zero point before it is stored.
  static constexpr std::int32_t left_offset(std::int32_t) noexcept { return 0; }

  template <std::size_t Step>
  static Register right(const std::int8_t* p) noexcept {
    return detail::Vnni::load(p);
  }
  template <std::size_t Step>
  static Register left(const std::uint8_t* p) noexcept {
    std::int32_t four;
    std::memcpy(&four, p, sizeof four);
    return detail::Vnni::broadcast(four);
  }
  static Sum add(Register left, Register right, Sum sum) noexcept {
    const Register added = detail::Vnni::add(std::bit_cast<Register>(sum.lanes), left, right);
    sum.lanes = std::bit_cast<typename Sum::Lanes>(added);
    return sum;
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::uint8_t* p) noexcept {
    const __m128i bytes = detail::Vnni::to_bytes(value, offset);
    std::memcpy(p, &bytes, Batch<float, Arch>::size);
  }
};
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
/// Four signed bytes with four signed ones a lane.
template <class Arch>
struct DotProduct<float, std::int8_t, Arch> {
  using Left = std::int8_t;
  using Sum = Batch<std::int32_t, Arch>;
  static constexpr std::size_t group = 4;
  static constexpr std::size_t steps = 1;
  static constexpr std::int32_t left_offset(std::int32_t) noexcept { return 128; }

  template <std::size_t Step>
  static int8x16_t right(const std::int8_t* p) noexcept {
    return vld1q_s8(p);
  }
  template <std::size_t Step>
  static int8x16_t left(const std::int8_t* p) noexcept {
    std::int32_t four;
    std::memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  static Sum add(int8x16_t left, int8x16_t right, Sum sum) noexcept {
    return Sum(vdotq_s32(sum, left, right));
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::int8_t* p) noexcept {
    const int16x4_t number = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(value), vdupq_n_s32(offset)));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(number, number));
    std::memcpy(p, &bytes, 4);
  }
};
#else
/// Pairs widened to 16 bits, which no sum of two products can exceed. On AVX2 twice as many
/// products an instruction as with float; elsewhere what the compiler makes of the loop.
template <class Arch>
struct DotProduct<float, std::int8_t, Arch> {
  using Left = std::int16_t;
  using Sum = Batch<std::int32_t, Arch>;
  static constexpr std::size_t group = 2;
  static constexpr std::size_t steps = 1;
  static constexpr std::int32_t left_offset(std::int32_t zero_point) noexcept { return zero_point; }

#if defined(__AVX512BW__)
  using Pairs = __m512i;
  template <std::size_t Step>
  static Pairs right(const std::int8_t* p) noexcept {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  template <std::size_t Step>
  static Pairs left(const std::int16_t* p) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static Sum add(Pairs left, Pairs right, Sum sum) noexcept {
    return sum + Sum(_mm512_madd_epi16(left, right));
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::int16_t* p) noexcept {
    const __m512i number = _mm512_add_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(offset));
    const __m256i words = _mm512_cvtepi32_epi16(number);
    std::memcpy(p, &words, sizeof words);
  }
#elif defined(__AVX2__)
  using Pairs = __m256i;
  template <std::size_t Step>
  static Pairs right(const std::int8_t* p) noexcept {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <std::size_t Step>
  static Pairs left(const std::int16_t* p) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
  }
  static Sum add(Pairs left, Pairs right, Sum sum) noexcept {
    return sum + Sum(_mm256_madd_epi16(left, right));
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::int16_t* p) noexcept {
    const __m256i number = _mm256_add_epi32(_mm256_cvtps_epi32(value), _mm256_set1_epi32(offset));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(number), _mm256_extracti128_si256(number, 1));
    std::memcpy(p, &words, sizeof words);
  }
#elif defined(__aarch64__)
  using Pairs = int16x8_t;
  template <std::size_t Step>
  static Pairs right(const std::int8_t* p) noexcept {
    return vmovl_s8(vld1_s8(p));
  }
  template <std::size_t Step>
  static Pairs left(const std::int16_t* p) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return vreinterpretq_s16_s32(vdupq_n_s32(pair));
  }
  static Sum add(Pairs left, Pairs right, Sum sum) noexcept {
    const int32x4_t low = vmull_s16(vget_low_s16(left), vget_low_s16(right));
    const int32x4_t high = vmull_high_s16(left, right);
    return sum + Sum(vpaddq_s32(low, high));
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::int16_t* p) noexcept {
    const int16x4_t number = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(value), vdupq_n_s32(offset)));
    std::memcpy(p, &number, sizeof number);
  }
#else
  struct Pairs {
    std::int16_t values[2 * Sum::size];
  };
  template <std::size_t Step>
  static Pairs right(const std::int8_t* p) noexcept {
    Pairs out;
    for (std::size_t i = 0; i < 2 * Sum::size; ++i) out.values[i] = p[i];
    return out;
  }
  template <std::size_t Step>
  static Pairs left(const std::int16_t* p) noexcept {
    Pairs out;
    for (std::size_t i = 0; i < 2 * Sum::size; ++i) out.values[i] = p[i % 2];
    return out;
  }
  static Sum add(const Pairs& left, const Pairs& right, Sum sum) noexcept {
    alignas(64) std::int32_t lanes[Sum::size];
    for (std::size_t i = 0; i < Sum::size; ++i) {
      lanes[i] = left.values[2 * i] * right.values[2 * i] +
                 left.values[2 * i + 1] * right.values[2 * i + 1];
    }
    return sum + Sum::load_aligned(lanes);
  }
  static void store_left(Batch<float, Arch> value, std::int32_t offset, std::int16_t* p) noexcept {
    alignas(64) float lanes[Sum::size];
    value.store_aligned(lanes);
    for (std::size_t i = 0; i < Sum::size; ++i) {
      p[i] =
          static_cast<std::int16_t>(static_cast<std::int32_t>(std::nearbyint(lanes[i])) + offset);
    }
  }
#endif
};
#endif

}  // namespace q2l::simd
