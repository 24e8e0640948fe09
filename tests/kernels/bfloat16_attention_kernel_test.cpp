// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <query2label/core/bfloat16.hpp>
#include <query2label/kernels/bfloat16_attention_kernel.hpp>
#include <vector>

#include "reference/attention_reference.hpp"
#include "support/comparator.hpp"
#include "support/emulated_tiles.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::bfloat16;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

/// Numbers that are bfloat16 already, so that only attention weights are rounded.
std::vector<float> narrow_values(const char* name, std::size_t count, std::uint64_t seed) {
  std::vector<float> values = fill(name, count, 0.0, 1.0, seed);
  for (float& x : values) x = static_cast<float>(q2l::to_bfloat16(x));
  return values;
}

}  // namespace

TEMPLATE_TEST_CASE("Attention in bfloat16 is right for odd sizes, with and without tile registers",
                   "[kernels]", EmulatedTiles<bfloat16>, q2l::kernels::NoTiles) {
  using Attention = q2l::kernels::Bfloat16Attention<DefaultArch, TestType>;
  using Left = typename Attention::Left;
  constexpr float scale = 0.5f;
  for (const std::size_t queries :
       std::initializer_list<std::size_t>{1, 16, 33, Attention::block_rows}) {
    for (const std::size_t tokens : {1u, 2u, 31u, 32u, 49u, 145u, 700u}) {
      for (const std::size_t width : {1u, 12u, 32u, 64u, 70u}) {
        CAPTURE(queries, tokens, width);
        const std::vector<float> q = narrow_values("q", queries * width, 1);
        const std::vector<float> k = narrow_values("k", tokens * width, 2);
        const std::vector<float> v = narrow_values("v", tokens * width, 3);
        const std::vector<float> bias = fill("bias", queries * tokens, 0.0, 1.0, 4);
        const Attention attention(tokens, width);
        // A panel narrower than a tile is read past its end.
        std::vector<bfloat16> right(attention.right_size() + 16 * 32, q2l::to_bfloat16(NAN));
        std::vector<Left> left(attention.left_size(), Left(q2l::to_bfloat16(NAN)));
        const std::vector<float> ones(attention.ones_size(), 1.0f);
        const typename Attention::Memory memory{right.data(), left.data(), ones.data()};
        const PoisonedMatrix<float> keys(tokens, width, k), values(tokens, width, v);
        const PoisonedMatrix<float> asked(queries, width, q);
        PoisonedMatrix<float> weights(queries, tokens), out(queries, width);
        attention.pack(keys.view(), values.view(), memory);
        TestType tiles;
        std::vector<float> scores(queries * tokens);
        attention.multiply(tiles, asked.view(), scale, bias.data(),
                           {scores.data(), queries, tokens}, out.view(), memory);
        const auto expected = AttentionReference::apply<float>(
            {queries, width, q}, {tokens, width, k}, {tokens, width, v}, 1, 1, scale,
            {queries, tokens, bias});
        CHECK(differences(Matrix<const float>(scores.data(), queries, tokens), expected.maps) ==
              "");
        CHECK(out.is_intact());
        // Each weight is off by at most 2^-8 of itself, and their sum is 1.
        const float largest = std::abs(*std::max_element(
            v.begin(), v.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
        const double bound = (1.0 / 256 + 1e-5) * static_cast<double>(largest);
        for (std::size_t i = 0; i < out.values().size(); ++i) {
          REQUIRE(std::abs(static_cast<double>(out.values()[i]) - expected.out.value[i]) <= bound);
        }
      }
    }
  }
}
