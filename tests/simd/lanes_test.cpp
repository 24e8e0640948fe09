// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <numeric>
#include <query2label/simd/lanes.hpp>
#include <vector>

#include "support/poisoned_buffer.hpp"

using q2l::simd::DefaultArch;
using q2l::test::PoisonedMatrix;

TEMPLATE_TEST_CASE("Groups of lanes cover a row of any length and touch nothing else", "[simd]",
                   float, double) {
  using T = TestType;
  for (std::size_t count = 0; count <= 67; ++count) {
    CAPTURE(count);
    std::vector<T> values(count);
    std::iota(values.begin(), values.end(), T(1));
    const PoisonedMatrix<T> in(1, count, values);
    PoisonedMatrix<T> out(1, count);
    q2l::simd::for_each_lane_group<T, DefaultArch>(
        count, [&](std::size_t i, auto load, auto store) {
          store(out.view().data + i, load(in.view().data + i));
        });
    CHECK(out.values() == values);
    CHECK(out.is_intact());
  }
}

TEMPLATE_TEST_CASE("Lanes beyond the end of a row read as the fill value", "[simd]", float,
                   double) {
  using T = TestType;
  using Batch = q2l::simd::Batch<T, DefaultArch>;
  for (std::size_t count = 0; count < Batch::size; ++count) {
    const PoisonedMatrix<T> in(1, count, std::vector<float>(count, 5.0f));
    const Batch loaded = q2l::simd::load_partial<T, DefaultArch>(in.view().data, count, T(-3));
    for (std::size_t i = 0; i < Batch::size; ++i) {
      CHECK(loaded.get(i) == (i < count ? T(5) : T(-3)));
    }
    Batch group_lanes(T(0));
    q2l::simd::for_each_lane_group<T, DefaultArch>(
        count, [&](std::size_t, auto load, auto) { group_lanes = load(in.view().data); }, T(-3));
    if (count > 0) CHECK(group_lanes.get(Batch::size - 1) == T(-3));
  }
}
