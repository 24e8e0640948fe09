// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <query2label/simd/fma.hpp>
#include <query2label/simd/reduce.hpp>
#include <type_traits>
#include <vector>

using q2l::simd::DefaultArch;

namespace {

template <class T, class F>
q2l::simd::Batch<T, DefaultArch> lanes_of(F value) {
  using Batch = q2l::simd::Batch<T, DefaultArch>;
  alignas(64) T lane[Batch::size];
  for (std::size_t i = 0; i < Batch::size; ++i) lane[i] = value(i);
  return Batch::load_aligned(lane);
}

}  // namespace

TEMPLATE_TEST_CASE("The largest of lanes counts every lane", "[simd]", float, double) {
  using T = TestType;
  constexpr std::size_t lanes = q2l::simd::Batch<T, DefaultArch>::size;
  for (std::size_t special = 0; special < lanes; ++special) {
    const auto batch = lanes_of<T>(
        [&](std::size_t i) { return i == special ? T(-1) : T(-2) - static_cast<T>(i); });
    CHECK((q2l::simd::max<T, DefaultArch>(batch)) == T(-1));
  }
}

TEMPLATE_TEST_CASE("A sum over a row adds in the same order, however wide a vector is", "[simd]",
                   float, double) {
  using T = TestType;
  using Batch = q2l::simd::Batch<T, DefaultArch>;
  for (std::size_t count = 0; count <= 67; ++count) {
    CAPTURE(count);
    std::vector<T> row(count);
    for (std::size_t i = 0; i < count; ++i) row[i] = T(1) / static_cast<T>(i + 3);
    const T sum = q2l::simd::sum_lane_groups<T, DefaultArch>(
        count,
        [&](std::size_t i, auto load, auto, Batch& total) { total += load(row.data() + i); });

    std::vector<T> lane(16, T(0));
    for (std::size_t i = 0; i < count; ++i) lane[i % 16] += row[i];
    for (std::size_t half = 8; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    CHECK(sum == lane[0]);
  }
}

TEMPLATE_TEST_CASE("A fused multiply-add rounds once", "[simd]", float, double) {
  using T = TestType;
  using Batch = q2l::simd::Batch<T, DefaultArch>;
  if constexpr (!q2l::simd::is_avx512<DefaultArch> &&
                !std::is_base_of_v<xsimd::avx2, DefaultArch> &&
                !std::is_base_of_v<xsimd::neon64, DefaultArch>) {
    WARN("this instruction set has no fused multiply-add");
  } else {
    const T a = T(1) + std::numeric_limits<T>::epsilon();
    const T rounded_square = a * a;
    const Batch rest = q2l::simd::fma<T, DefaultArch>(Batch(a), Batch(a), Batch(-rounded_square));
    CHECK(rest.get(0) == std::fma(a, a, -rounded_square));
    CHECK(rest.get(0) != T(0));
  }
}

TEST_CASE("The instruction set of this program runs on this processor", "[simd]") {
  CHECK_NOTHROW(q2l::simd::require_cpu<DefaultArch>());
}
