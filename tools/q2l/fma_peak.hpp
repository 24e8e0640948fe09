// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <type_traits>

#include "query2label/core/parallel_for.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::command {
namespace detail {

/// Independent sums in flight: enough to hide 5 cycles of latency at 2 a cycle.
inline constexpr std::size_t peak_sums = 12;

/// Makes `operand` unknown to the compiler, in its register.
template <class Operand>
[[gnu::always_inline]] inline void hide(Operand& operand) noexcept {
  if constexpr (requires { operand.data; }) {
    hide(operand.data);
  } else {
#if defined(__x86_64__)
    if constexpr (!std::is_class_v<Operand>) asm volatile("" : "+x"(operand));
#elif defined(__aarch64__)
    if constexpr (!std::is_class_v<Operand>) asm volatile("" : "+w"(operand));
#endif
  }
}

/// `steps` additions of a product to each of the sums, from registers.
template <class T, class W, class Arch>
void run_multiply_adds(std::size_t steps, const W* right,
                       const typename simd::DotProduct<T, W, Arch>::Left* left) noexcept {
  using Dot = simd::DotProduct<T, W, Arch>;
  auto a = Dot::template left<0>(left);
  const auto b = Dot::template right<0>(right);
  typename Dot::Sum sum[peak_sums];
  Q2L_UNROLL
  for (std::size_t i = 0; i < peak_sums; ++i) sum[i] = typename Dot::Sum(0);
  for (std::size_t s = 0; s < steps; ++s) {
    Q2L_UNROLL
    for (std::size_t i = 0; i < peak_sums; ++i) {
      hide(a);  // or the products would be the same, and computed once
      sum[i] = Dot::add(a, b, sum[i]);
      hide(sum[i]);  // in this order: others need more registers
    }
  }
  Q2L_UNROLL
  for (std::size_t i = 0; i < peak_sums; ++i) {
    const typename Dot::Sum last = sum[i];
    asm volatile("" : : "m"(last));  // nor may a sum be left out
  }
}

/// The same on tile registers: `steps` additions to each of the four tiles of sums.
template <class W>
void run_tile_multiply_adds(std::size_t steps) noexcept {
  using Tiles = simd::AmxTiles<W>;
  const W right[simd::tile_rows * simd::tile_bytes / sizeof(W)] = {};
  const typename Tiles::Left left[simd::tile_rows * simd::tile_bytes / sizeof(W)] = {};
  Tiles tiles;
  tiles.zero_sums();
  tiles.load_left_0(left, simd::tile_bytes);
  tiles.load_left_1(left, simd::tile_bytes);
  tiles.load_right_0(right, simd::tile_bytes);
  tiles.load_right_1(right, simd::tile_bytes);
  for (std::size_t s = 0; s < steps; ++s) {
    tiles.add_00();
    tiles.add_01();
    tiles.add_10();
    tiles.add_11();
  }
}

}  // namespace detail

/// Operations a second (a multiply-add is two) that `workers` threads reach together on registers
/// alone with weights of type `W`: the best of some tries of a few milliseconds.
template <class T = float, class W = T, class Arch = simd::DefaultArch>
double measure_fma_peak(TaskRunner& runner, std::size_t workers) {
  using Clock = std::chrono::steady_clock;
  using Dot = simd::DotProduct<T, W, Arch>;
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  constexpr std::size_t steps = 400'000;
  constexpr int tries = 40;
  // In tiles, 16 cycles an addition: fewer of them.
  constexpr bool has_amx = simd::has_amx<T, W, Arch>;
  constexpr std::size_t tile_steps = steps / 10;
  constexpr std::size_t tile_products =
      4 * simd::tile_rows * simd::tile_rows * simd::tile_bytes / sizeof(W);
  const W right[lanes * Dot::group] = {};
  const typename Dot::Left left[Dot::group] = {};
  double best = 0;
  for (int i = 0; i < tries; ++i) {
    auto work = [&](std::size_t) noexcept {
      if constexpr (has_amx) {
        detail::run_tile_multiply_adds<W>(tile_steps);
      } else {
        detail::run_multiply_adds<T, W, Arch>(steps, right, left);
      }
    };
    const Clock::time_point start = Clock::now();
    runner.run(workers, work);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const std::size_t products = has_amx
                                     ? tile_steps * tile_products
                                     : steps * detail::peak_sums * lanes * Dot::group / Dot::steps;
    const double operations = 2.0 * static_cast<double>(workers * products);
    best = std::max(best, operations / seconds);
  }
  return best;
}

}  // namespace q2l::command
