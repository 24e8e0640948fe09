// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <type_traits>

#include "query2label/core/cpu_features.hpp"
#include "query2label/core/error.hpp"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
/// Defined where narrow products run on tile registers.
#define Q2L_AMX 1
#endif

// The one place that includes xsimd.
#if defined(__GNUC__)
#pragma GCC diagnostic push
#if !defined(__clang__)
// GCC 12 finds its own AVX-512 intrinsics uninitialised where they are inlined.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/// Unrolls the next loop completely. Every loop over accumulator arrays needs it, or the
/// accumulators live in memory instead of registers.
#if defined(__clang__)
#define Q2L_UNROLL _Pragma("clang loop unroll(full)")
#else
#define Q2L_UNROLL _Pragma("GCC unroll 64")
#endif

namespace q2l::simd {

/// The widest instruction set this translation unit is compiled for.
using DefaultArch = xsimd::default_arch;

template <class T, class Arch>
using Batch = xsimd::batch<T, Arch>;

template <class Arch>
inline constexpr bool is_avx512 = std::is_base_of_v<xsimd::avx512f, Arch>;

/// Vector registers a kernel may count on.
template <class Arch>
inline constexpr std::size_t register_count =
    is_avx512<Arch> || std::is_base_of_v<xsimd::neon64, Arch> ? 32 : 16;

/// Throws Error unsupported_cpu when this processor lacks the instructions of `Arch`, or those
/// beyond that this translation unit was compiled for and the kernels use. Where there are tile
/// registers, asks the operating system to let this process use them.
template <class Arch>
void require_cpu() {
  const CpuFeatures cpu = cpu_features();
  bool missing =
      (is_avx512<Arch> && !cpu.avx512) || (std::is_base_of_v<xsimd::avx2, Arch> && !cpu.avx2_fma);
#if defined(__AVX512VNNI__)
  missing = missing || !cpu.vnni;
#endif
#if defined(__AVX512BF16__)
  missing = missing || !cpu.bf16;
#endif
#if defined(__AVXVNNI__)
  missing = missing || !cpu.avx_vnni;
#endif
#if defined(Q2L_AMX)
  missing = missing || !cpu.amx;
  constexpr long ask_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
  missing = missing || syscall(SYS_arch_prctl, ask_permission, tile_data) != 0;
#endif
  if (missing) {
    throw Error(ErrorCode::unsupported_cpu, "this processor lacks instructions the program uses",
                {.expected = Arch::name()});
  }
}

}  // namespace q2l::simd
