// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "query2label/core/parallel_for.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/reduce.hpp"

namespace q2l::command {
namespace detail {

/// Independent multiply-adds in flight: enough to hide 4 cycles of latency at 2 a cycle.
inline constexpr std::size_t fma_chains = 12;

/// `steps` multiply-adds in each chain; the result keeps the compiler from leaving them out.
template <class T, class Arch>
T run_fma_chains(std::size_t steps, T factor) noexcept {
  using B = simd::Batch<T, Arch>;
  const B a(factor), b(T(1) - factor);
  B sum[fma_chains];
  Q2L_UNROLL
  for (std::size_t i = 0; i < fma_chains; ++i) sum[i] = B(static_cast<T>(i));
  for (std::size_t s = 0; s < steps; ++s) {
    Q2L_UNROLL
    for (std::size_t i = 0; i < fma_chains; ++i) sum[i] = simd::fma<T, Arch>(sum[i], a, b);
  }
  B total(T(0));
  Q2L_UNROLL
  for (std::size_t i = 0; i < fma_chains; ++i) total += sum[i];
  return simd::sum<T, Arch>(total);
}

}  // namespace detail

/// Operations a second (a multiply-add is two) that `workers` threads reach together on registers
/// alone: the best of some tries of a few milliseconds.
template <class T = float, class Arch = simd::DefaultArch>
double measure_fma_peak(TaskRunner& runner, std::size_t workers) {
  using Clock = std::chrono::steady_clock;
  constexpr std::size_t steps = 400'000;
  constexpr int tries = 40;
  const volatile T factor = T(0.999);
  double best = 0;
  for (int i = 0; i < tries; ++i) {
    volatile T sink = 0;
    auto work = [&](std::size_t) noexcept {
      const T result = detail::run_fma_chains<T, Arch>(steps, factor);
      if (result < T(0)) sink = result;  // never: the chains tend to 1
    };
    const Clock::time_point start = Clock::now();
    runner.run(workers, work);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double operations = 2.0 * static_cast<double>(workers * steps * detail::fma_chains *
                                                        simd::Batch<T, Arch>::size);
    best = std::max(best, operations / seconds);
  }
  return best;
}

}  // namespace q2l::command
