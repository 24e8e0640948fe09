// SPDX-License-Identifier: MIT
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace q2l {

/// What the processor this program runs on can do (not what the program was compiled for).
struct CpuFeatures {
  bool avx2_fma = false;  ///< AVX2 and FMA
  bool avx512 = false;    ///< AVX-512 F, CD, BW, DQ, VL
  bool vnni = false;      ///< AVX-512 VNNI
  bool bf16 = false;      ///< AVX-512 BF16
  bool avx_vnni = false;  ///< VNNI without AVX-512
  bool amx = false;       ///< tile registers, with products of bf16 and int8
  bool neon = false;      ///< 64-bit Advanced SIMD
};

#if defined(__x86_64__) || defined(__i386__)
namespace detail {

/// Whether the operating system keeps tile registers; for processors with AVX-512.
inline bool system_saves_tiles() noexcept {
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned tile_state = 1u << 17 | 1u << 18;
  return (low & tile_state) == tile_state;
}

}  // namespace detail
#endif

inline CpuFeatures cpu_features() noexcept {
  CpuFeatures features;
#if defined(__x86_64__) || defined(__i386__)
  features.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = features.avx2_fma && __builtin_cpu_supports("avx512f") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  // Clang 14 knows no names for these.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    constexpr unsigned amx_bits = 1u << 22 | 1u << 24 | 1u << 25;  // bf16, tile, int8
    features.amx = features.vnni && features.bf16 && (edx & amx_bits) == amx_bits &&
                   detail::system_saves_tiles();
  }
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
    features.avx_vnni = features.avx2_fma && (eax & 1u << 4) != 0;
  }
#elif defined(__aarch64__)
  features.neon = true;
#endif
  return features;
}

}  // namespace q2l
