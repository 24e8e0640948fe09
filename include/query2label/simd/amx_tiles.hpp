// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/simd/arch.hpp"

#if defined(Q2L_AMX)
#include <immintrin.h>
#endif

// Intel's tile registers (AMX): one instruction multiplies a tile of 16 rows x 64 bytes with one of
// 16 groups of depth x 16 columns and adds to 16 x 16 sums, 16 times the multiply-adds of an
// AVX-512 one in bf16 and four times those of a VNNI one in int8.

namespace q2l::simd {

inline constexpr std::size_t tile_rows = 16;   ///< rows of a tile, and columns of sums
inline constexpr std::size_t tile_bytes = 64;  ///< of a row: 16 sums, or left operands

/// Whether narrow products are multiplied tile by tile: those of bf16 and int8 weights in programs
/// compiled for processors that have the instructions.
template <class T, class W, class Arch>
#if defined(Q2L_AMX)
inline constexpr bool has_amx =
    is_avx512<Arch>&& std::is_same_v<T, float> && !std::is_same_v<W, float>;
#else
inline constexpr bool has_amx = false;
#endif

template <class W>
class AmxTiles;

#if defined(Q2L_AMX)

/// The tile registers as the product kernel uses them: two tiles of left rows, two of columns, and
/// the four tiles of their sums. `W` is bfloat16 or std::int8_t. Sums of bf16 are rounded to
/// nearest after each product, subnormal operands and results being zero; those of int8 are exact.
template <class W>
class AmxTiles {
 public:
  static constexpr bool is_int8 = std::is_same_v<W, std::int8_t>;
  using Left = std::conditional_t<is_int8, std::uint8_t, bfloat16>;
  using Sum = std::conditional_t<is_int8, std::int32_t, float>;

  /// Configures the registers of this thread, until the end.
  AmxTiles() noexcept {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {};
      std::uint8_t rows[16] = {};
    } configuration;
    for (std::size_t i = 0; i < 8; ++i) {
      configuration.bytes[i] = tile_bytes;
      configuration.rows[i] = tile_rows;
    }
    asm volatile("" : : "r"(&configuration) : "memory");
    _tile_loadconfig(&configuration);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  void zero_sums() noexcept {
    asm volatile("" : : : "memory");  // GCC's loads do not say that they read memory
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  /// 16 rows of 64 bytes, `stride` bytes apart. Columns pass by while left rows stay in the
  /// first-level cache, so the processor is told not to keep them there.
  void load_left_0(const Left* p, std::size_t stride) noexcept { _tile_loadd(4, p, stride); }
  void load_left_1(const Left* p, std::size_t stride) noexcept { _tile_loadd(5, p, stride); }
  void load_right_0(const W* p, std::size_t stride) noexcept { _tile_stream_loadd(6, p, stride); }
  void load_right_1(const W* p, std::size_t stride) noexcept { _tile_stream_loadd(7, p, stride); }

  /// add_RC: adds the products of left tile R and right tile C to their sums.
  void add_00() noexcept {
    if constexpr (is_int8) {
      _tile_dpbusd(0, 4, 6);
    } else {
      _tile_dpbf16ps(0, 4, 6);
    }
  }
  void add_01() noexcept {
    if constexpr (is_int8) {
      _tile_dpbusd(1, 4, 7);
    } else {
      _tile_dpbf16ps(1, 4, 7);
    }
  }
  void add_10() noexcept {
    if constexpr (is_int8) {
      _tile_dpbusd(2, 5, 6);
    } else {
      _tile_dpbf16ps(2, 5, 6);
    }
  }
  void add_11() noexcept {
    if constexpr (is_int8) {
      _tile_dpbusd(3, 5, 7);
    } else {
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  /// All sums, 32 rows of 32.
  void store_sums(Sum* out) noexcept {
    constexpr std::size_t stride = 2 * tile_bytes;
    _tile_stored(0, out, stride);
    _tile_stored(1, out + tile_rows, stride);
    _tile_stored(2, out + 2 * tile_rows * tile_rows, stride);
    _tile_stored(3, out + 2 * tile_rows * tile_rows + tile_rows, stride);
  }
};

#endif

}  // namespace q2l::simd
