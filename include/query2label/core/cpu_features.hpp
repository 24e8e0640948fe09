// SPDX-License-Identifier: MIT
#pragma once

namespace q2l {

/// What the processor this program runs on can do (not what the program was compiled for).
struct CpuFeatures {
  bool avx2_fma = false;  ///< AVX2 and FMA
  bool avx512 = false;    ///< AVX-512 F, CD, BW, DQ, VL
  bool vnni = false;      ///< AVX-512 VNNI
  bool bf16 = false;      ///< AVX-512 BF16
  bool neon = false;      ///< 64-bit Advanced SIMD
};

inline CpuFeatures cpu_features() noexcept {
  CpuFeatures features;
#if defined(__x86_64__) || defined(__i386__)
  features.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = features.avx2_fma && __builtin_cpu_supports("avx512f") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
  features.neon = true;
#endif
  return features;
}

}  // namespace q2l
