// SPDX-License-Identifier: MIT
#include "cuda/host_attention.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "cuda/attention_example.hpp"
#include "support/comparator.hpp"

// The block of cross_attention.cuh, its warps and lanes one after the other on this machine: the
// tiles, edges, copies and softmax of the GPU, with its instructions emulated.

using namespace q2l::test;
using q2l::Matrix;
using q2l::cuda::AttentionTiling;
using q2l::cuda::Bf16Arithmetic;
using q2l::cuda::F16Arithmetic;
using q2l::cuda::F32Arithmetic;
using q2l::cuda::Tf32Arithmetic;

namespace {

/// A kernel: how it divides attention and whether a head fits whole.
template <class Arithmetic, int Columns, int Rows, int Keys, bool IsWhole>
struct Kernel {
  using Tiling = AttentionTiling<Arithmetic, Columns, Rows, Keys>;
  static constexpr bool is_whole = IsWhole;

  static AttentionOutcome run(const AttentionExample& example, bool with_maps = true,
                              bool is_reversed = false) {
    return attend_on_host<Tiling, IsWhole>(example, with_maps, is_reversed);
  }

  static constexpr AttentionRounding rounding() {
    if (std::is_same_v<Arithmetic, Tf32Arithmetic>) return tf32_rounding;
    if (std::is_same_v<Arithmetic, F16Arithmetic>) return f16_rounding;
    return std::is_same_v<Arithmetic, Bf16Arithmetic> ? bf16_rounding : f32_rounding;
  }

  static void round(AttentionExample& example) {
    example.round([](float value) { return Arithmetic::decode(Arithmetic::encode(value)); });
  }
};

/// Checks values and weights, and that neither asking for weights nor the order in which warps come
/// to their turn changes a bit of the values.
template <class Kernel>
void check(AttentionExample example) {
  const AttentionExtents& e = example.extents;
  CAPTURE(e.batch, e.heads, e.queries, e.tokens, e.width);
  Kernel::round(example);
  const auto expected = example.expected(Kernel::rounding());
  const AttentionOutcome actual = Kernel::run(example);
  const auto as_matrix = [&](const std::vector<float>& values) {
    return Matrix<const float>(values.data(), example.rows(), values.size() / example.rows());
  };
  CHECK(differences(as_matrix(actual.out), expected.out) == "");
  CHECK(differences(as_matrix(actual.maps), expected.maps) == "");
  const AttentionOutcome again = Kernel::run(example, false, true);
  CHECK(same_bits(again.out, actual.out));
}

}  // namespace

#define EVERY_KERNEL                                                                           \
  (Kernel<F32Arithmetic, 64, 32, 16, true>), (Kernel<F32Arithmetic, 128, 16, 16, true>),       \
      (Kernel<F32Arithmetic, 64, 16, 32, false>), (Kernel<Tf32Arithmetic, 64, 32, 16, true>),  \
      (Kernel<Tf32Arithmetic, 128, 16, 16, false>), (Kernel<F16Arithmetic, 64, 32, 16, true>), \
      (Kernel<F16Arithmetic, 64, 16, 16, false>), (Kernel<Bf16Arithmetic, 64, 32, 16, true>),  \
      (Kernel<Bf16Arithmetic, 128, 32, 32, true>), (Kernel<Bf16Arithmetic, 64, 16, 16, false>)

TEMPLATE_TEST_CASE("The GPU's attention is right for sizes around its tiles", "[cuda]",
                   EVERY_KERNEL) {
  for (const int queries : {1, 15, 16, 17, 31, 32, 33, 65}) {
    for (const int tokens : {1, 2, 15, 16, 17, 32, 33, 50}) {
      check<TestType>(AttentionExample({1, 1, queries, tokens, 64}));
    }
  }
  check<TestType>(AttentionExample({3, 2, 5, 20, 48}));  // narrower than the tile
}

TEMPLATE_TEST_CASE("The GPU's attention is right for the most queries and the most keys", "[cuda]",
                   (Kernel<F32Arithmetic, 64, 32, 16, true>),
                   (Kernel<F16Arithmetic, 64, 16, 16, false>)) {
  check<TestType>(AttentionExample({1, 1, 10000, 2, 16}));
  check<TestType>(AttentionExample({1, 1, 2, 4096, 64}));
}

TEMPLATE_TEST_CASE("The GPU's attention shares queries between images and keys between heads",
                   "[cuda]", EVERY_KERNEL) {
  check<TestType>(AttentionExample({3, 2, 20, 18, 64, true, false}));
  check<TestType>(AttentionExample({2, 3, 20, 18, 64, false, true}));
  check<TestType>(AttentionExample({2, 2, 7, 18, 64, true, true}));
}

TEMPLATE_TEST_CASE("The GPU's attention to one key returns its value", "[cuda]", EVERY_KERNEL) {
  AttentionExample example({2, 2, 3, 1, 64});
  TestType::round(example);
  const AttentionOutcome actual = TestType::run(example);
  CHECK(actual.maps == std::vector<float>(example.rows(), 1.0f));
  const double error = TestType::rounding().factor;
  for (std::size_t r = 0; r < example.rows(); ++r) {
    const float* const value =
        example.v.at(static_cast<int>(r) / 6, static_cast<int>(r) / 3 % 2, 0);
    for (std::size_t c = 0; c < 64; ++c) {
      CHECK(is_close(static_cast<double>(actual.out[r * 64 + c]), static_cast<double>(value[c]),
                     error * std::abs(static_cast<double>(value[c]))));
    }
  }
}

TEMPLATE_TEST_CASE("The GPU's attention weighs equal keys equally", "[cuda]", EVERY_KERNEL) {
  for (const int tokens : {7, 32, 45}) {
    AttentionExample example({1, 2, 9, tokens, 64}, 4.0);
    example.repeat_first_key();
    check<TestType>(example);
    TestType::round(example);
    const AttentionOutcome actual = TestType::run(example);
    for (const float weight : actual.maps) CHECK(weight == 1.0f / static_cast<float>(tokens));
  }
}

TEMPLATE_TEST_CASE("The GPU's attention survives logits whose exponentials overflow", "[cuda]",
                   EVERY_KERNEL) {
  // Scores that grow, then fall from key to key, thousands apart: each step corrects all before.
  for (const float step : {512.0f, -512.0f}) {
    AttentionExample example({1, 1, 18, 50, 64}, 1.0, 1.0f);
    example.spread_scores(step);
    check<TestType>(example);
    const AttentionOutcome actual = TestType::run(example);
    CHECK(actual.maps[step > 0.0f ? 49 : 0] == 1.0f);
  }
}

TEMPLATE_TEST_CASE("A score of minus infinity gets no weight on the GPU, and NaN stays in its row",
                   "[cuda]", EVERY_KERNEL) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  AttentionExample example({1, 1, 3, 40, 64});
  for (int i = 0; i < 3; ++i) example.q.at(0, 0, i)[0] = 1.0f;
  for (int t = 0; t < 33; ++t) example.k.at(0, 0, t)[0] = -infinity;  // whole steps of keys
  example.q.at(0, 0, 1)[1] = std::numeric_limits<float>::quiet_NaN();
  const AttentionOutcome actual = TestType::run(example);
  for (std::size_t t = 0; t < 40; ++t) {
    CHECK((actual.maps[t] > 0.0f) == (t >= 33));
    CHECK(std::isnan(actual.maps[40 + t]));
    CHECK((actual.maps[80 + t] > 0.0f) == (t >= 33));
  }
  for (std::size_t c = 0; c < 64; ++c) {
    CHECK(std::isfinite(actual.out[c]));
    CHECK(std::isnan(actual.out[64 + c]));
    CHECK(std::isfinite(actual.out[128 + c]));
  }
}

TEMPLATE_TEST_CASE("The GPU's attention gives an image the bits it gets alone", "[cuda]",
                   EVERY_KERNEL) {
  const AttentionExample batch({3, 2, 21, 19, 64});
  const AttentionOutcome all = TestType::run(batch);
  const auto part = [](const std::vector<float>& values, std::size_t n) {
    const auto size = static_cast<std::ptrdiff_t>(values.size() / 3);
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(n) * size;
    return std::vector<float>(begin, begin + size);
  };
  for (std::size_t n = 0; n < 3; ++n) {
    AttentionExample alone({1, 2, 21, 19, 64});
    alone.q.values = part(batch.q.values, n);
    alone.k.values = part(batch.k.values, n);
    alone.v.values = part(batch.v.values, n);
    const AttentionOutcome one = TestType::run(alone);
    CHECK(same_bits(one.out, part(all.out, n)));
    CHECK(same_bits(one.maps, part(all.maps, n)));
  }
}

TEMPLATE_TEST_CASE(
    "The GPU's attention is right for the heads of real models", "[cuda]",
    (Kernel<F32Arithmetic, 512, 32, 16, true>), (Kernel<F32Arithmetic, 608, 16, 16, true>),
    (Kernel<Tf32Arithmetic, 608, 32, 16, true>), (Kernel<F16Arithmetic, 512, 32, 16, true>),
    (Kernel<F16Arithmetic, 608, 16, 16, true>), (Kernel<Bf16Arithmetic, 256, 32, 16, true>),
    (Kernel<Bf16Arithmetic, 384, 32, 16, true>), (Kernel<Bf16Arithmetic, 608, 32, 16, true>),
    (Kernel<Bf16Arithmetic, 2048, 16, 16, true>), (Kernel<F32Arithmetic, 128, 16, 16, false>),
    (Kernel<Bf16Arithmetic, 256, 16, 16, false>)) {
  constexpr int columns = TestType::Tiling::columns;
  constexpr int width = columns == 640 || !TestType::is_whole ? 608 : columns;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  check<TestType>(AttentionExample({1, 2, 33, 36, width}, 2.0, scale));
}
