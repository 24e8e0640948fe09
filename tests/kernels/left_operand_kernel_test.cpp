// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <query2label/kernels/left_operand_kernel.hpp>
#include <vector>

#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::Quantization;
using q2l::simd::DefaultArch;

namespace {

using Dot = q2l::simd::DotProduct<float, std::int8_t, DefaultArch>;

}  // namespace

TEST_CASE("A row is quantised to the nearest step, ties to even, held to 0..255", "[kernels]") {
  for (const Quantization& q : {Quantization{0.25f, 0}, Quantization{0.25f, 128},
                                Quantization{0.25f, 255}, Quantization{0.25f, 3}}) {
    for (const std::size_t count : {1u, 3u, 4u, 63u, 64u, 65u, 130u, 1024u}) {
      CAPTURE(q.zero_point, count);
      std::vector<float> in = fill("in", count, 0.0, 70.0, count);
      for (float& x : in) x = std::floor(x * 8) / 8;  // steps of half a unit: ties are met
      constexpr Dot::Left untouched{77};
      std::vector<Dot::Left> out(count + 2, untouched);
      q2l::kernels::convert_left_row<std::int8_t, DefaultArch>(in.data(), count, q, out.data() + 1);
      for (std::size_t i = 0; i < count; ++i) {
        const double step = std::nearbyint(static_cast<double>(in[i]) / 0.25) + q.zero_point;
        const auto expected = static_cast<std::int32_t>(std::clamp(step, 0.0, 255.0)) -
                              Dot::left_offset(q.zero_point);
        REQUIRE(static_cast<std::int32_t>(out[i + 1]) == expected);
      }
      CHECK(out.front() == untouched);
      CHECK(out.back() == untouched);
    }
  }
}

TEST_CASE("The reference rounds as the kernel does", "[kernels]") {
  const std::vector<float> in = fill("in", 300, 1.0, 40.0, 7);
  const Quantization q{0.25f, 100};
  std::vector<Dot::Left> quantised(in.size());
  q2l::kernels::convert_left_row<std::int8_t, DefaultArch>(in.data(), in.size(), q,
                                                           quantised.data());
  const std::vector<double> wide(in.begin(), in.end());
  std::vector<double> rounded(in.size());
  q2l::kernels::round_left_row(wide.data(), wide.size(), q2l::Precision::int8, q, rounded.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::int32_t number =
        static_cast<std::int32_t>(quantised[i]) + Dot::left_offset(q.zero_point) - q.zero_point;
    REQUIRE(rounded[i] == 0.25 * number);
  }
  q2l::kernels::round_left_row(wide.data(), wide.size(), q2l::Precision::bf16, q, rounded.data());
  std::vector<q2l::bfloat16> narrow(in.size());
  q2l::kernels::convert_left_row<q2l::bfloat16, DefaultArch>(in.data(), in.size(), q,
                                                             narrow.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    REQUIRE(rounded[i] == static_cast<double>(q2l::to_bfloat16(in[i])));
    REQUIRE(rounded[i] == static_cast<double>(narrow[i]));
  }
}
