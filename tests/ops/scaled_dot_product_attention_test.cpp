// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <query2label/core/bfloat16.hpp>
#include <query2label/core/precision.hpp>
#include <query2label/ops/scaled_dot_product_attention.hpp>
#include <string>
#include <vector>

#include "reference/attention_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::AttentionBias;
using q2l::simd::DefaultArch;

namespace {

/// Operands of `sequences` attentions of `queries` queries to `tokens` tokens.
struct ScaledDotProductExample {
  std::size_t sequences, queries, tokens, heads, head_width;
  double magnitude = 1.0;
  std::size_t width = heads * head_width;
  std::vector<float> q = fill("q", sequences* queries* width, 0.0, magnitude, 1);
  std::vector<float> k = fill("k", sequences* tokens* width, 0.0, magnitude, 2);
  std::vector<float> v = fill("v", sequences* tokens* width, 0.0, 1.0, 3);

  template <class T>
  [[nodiscard]] AttentionReference::Result expected(double scale, const Estimate& bias = {}) const {
    return AttentionReference::apply<T>(
        {sequences * queries, width, q}, {sequences * tokens, width, k},
        {sequences * tokens, width, v}, sequences, heads, scale, bias);
  }
};

template <class T>
void attend(const Context& context, const ScaledDotProductExample& example, T scale,
            const AttentionBias<T>& bias, Matrix<T> out, T* maps) {
  const ScaledDotProductExample& e = example;
  const PoisonedMatrix<T> q(e.sequences * e.queries, e.width, e.q);
  const PoisonedMatrix<T> k(e.sequences * e.tokens, e.width, e.k, 5, 2);
  const PoisonedMatrix<T> v(e.sequences * e.tokens, e.width, e.v, 2, 7);
  q2l::ops::scaled_dot_product_attention<T, DefaultArch>(
      context, q.view(), k.view(), v.view(), e.sequences, e.heads, scale, bias, out, maps);
}

/// Checks values and attention weights, and that asking for the weights changes no value.
template <class T>
void check_attention(const ScaledDotProductExample& example, double scale,
                     const AttentionBias<T>& bias = {}, const Estimate& bias_values = {}) {
  CAPTURE(example.sequences, example.queries, example.tokens, example.heads, example.head_width);
  const auto expected = example.expected<T>(scale, bias_values);
  const std::size_t rows = example.sequences * example.queries;
  PoisonedMatrix<T> out(rows, example.width), without_maps(rows, example.width);
  PoisonedMatrix<T> maps(rows * example.heads, example.tokens, 0);
  run_planned([&](const Context& context) {
    attend<T>(context, example, static_cast<T>(scale), bias, out.view(), maps.view().data);
    attend<T>(context, example, static_cast<T>(scale), bias, without_maps.view(), nullptr);
  });
  CHECK(differences(out.view(), expected.out) == "");
  CHECK(differences(maps.view(), expected.maps) == "");
  CHECK(same_bits(without_maps.values(), out.values()));
  CHECK(out.is_intact());
  CHECK(maps.is_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("Attention of odd sizes is right, and so are its weights", "[ops]", float,
                   double) {
  for (const std::size_t queries : {1u, 2u, 47u, 48u, 49u, 101u}) {
    for (const std::size_t tokens : {1u, 2u, 9u, 17u, 64u}) {
      check_attention<TestType>({1, queries, tokens, 2, 12}, 0.3);
    }
  }
  for (const std::size_t head_width : {1u, 3u, 8u, 17u, 33u}) {
    for (const std::size_t heads : {1u, 3u, 5u}) {
      check_attention<TestType>({3, 7, 11, heads, head_width}, 0.5);
    }
  }
}

TEMPLATE_TEST_CASE("Attention to one key returns its value", "[ops]", float, double) {
  using T = TestType;
  const ScaledDotProductExample example{2, 3, 1, 2, 5};
  PoisonedMatrix<T> out(6, 10), maps(12, 1, 0);
  run_planned([&](const Context& context) {
    attend<T>(context, example, T(1), {}, out.view(), maps.view().data);
  });
  CHECK(maps.values() == std::vector<T>(12, T(1)));
  for (std::size_t r = 0; r < 6; ++r) {
    for (std::size_t c = 0; c < 10; ++c) {
      CHECK(out.view().row(r)[c] == static_cast<T>(example.v[r / 3 * 10 + c]));
    }
  }
}

TEMPLATE_TEST_CASE("Attention survives logits whose exponentials overflow", "[ops]", float,
                   double) {
  using T = TestType;
  check_attention<T>({1, 5, 13, 1, 16, 8.0}, 1.0);  // scores hundreds apart
  ScaledDotProductExample example{1, 4, 9, 1, 1};
  example.q.assign(4, 1.0f);
  example.k = fill("k", 9, 95.0, 5.0, 1);  // scores of 90 to 100
  check_attention<T>(example, 1.0);
  for (float& value : example.k) value = -value;
  check_attention<T>(example, 1.0);
}

TEMPLATE_TEST_CASE("Attention adds the bias of its head and the mask of its sequence", "[ops]",
                   float, double) {
  using T = TestType;
  constexpr std::size_t sequences = 4, queries = 50, tokens = 13, heads = 3;
  constexpr std::size_t table = queries * tokens;
  const ScaledDotProductExample example{sequences, queries, tokens, heads, 8};
  const std::vector<float> head_values = fill("bias", heads * table, 0.0, 2.0, 1);
  std::vector<float> mask_values = fill("mask", 2 * table, 0.0, 1.0, 2);
  for (float& value : mask_values) value = value > 0.0f ? 0.0f : -100.0f;
  const std::vector<std::uint8_t> mask_of = {0, 2, 1, 2};

  std::vector<double> heads_only, with_masks;
  for (std::size_t n = 0; n < sequences; ++n) {
    for (std::size_t i = 0; i < heads * table; ++i) {
      const double mask =
          mask_of[n] == 0 ? 0.0 : mask_values[(mask_of[n] - 1u) * table + i % table];
      heads_only.push_back(head_values[i]);
      with_masks.push_back(static_cast<double>(head_values[i]) + mask);
    }
  }
  const PoisonedMatrix<T> head_bias(1, heads * table, head_values);
  const PoisonedMatrix<T> masks(1, 2 * table, mask_values);
  const std::size_t rows = sequences * heads * queries;
  check_attention<T>(example, 0.4, {.heads = head_bias.view().data}, {rows, tokens, heads_only});
  check_attention<T>(
      example, 0.4,
      {.heads = head_bias.view().data, .masks = masks.view().data, .mask_of = mask_of.data()},
      {rows, tokens, with_masks});
}

TEST_CASE("Attention gives the same bits on any number of threads and for any batch", "[ops]") {
  // Many pairs of sequence and head, and a single one whose queries are split.
  for (const ScaledDotProductExample& example :
       {ScaledDotProductExample{4, 100, 30, 3, 16}, ScaledDotProductExample{4, 300, 20, 1, 8}}) {
    const std::size_t rows = example.sequences * example.queries;
    const std::vector<float> all = same_bits_on_any_workers<float>(
        rows, example.width, [&](const Context& context, Matrix<float> out) {
          attend<float>(context, example, 0.5f, {}, out, nullptr);
        });
    check_same_bits_alone(all, 4, example.queries, example.width,
                          [&](const Context& context, std::size_t n, Matrix<float> out) {
                            ScaledDotProductExample alone = example;
                            const auto image = [&](const std::vector<float>& values) {
                              const auto size = static_cast<std::ptrdiff_t>(values.size() / 4);
                              const auto begin =
                                  values.begin() + static_cast<std::ptrdiff_t>(n) * size;
                              return std::vector<float>(begin, begin + size);
                            };
                            alone.sequences = 1;
                            alone.q = image(example.q);
                            alone.k = image(example.k);
                            alone.v = image(example.v);
                            attend<float>(context, alone, 0.5f, {}, out, nullptr);
                          });
  }
}

TEST_CASE("One query split over threads has the weights it has on one", "[ops]") {
  const ScaledDotProductExample example{1, 200, 20, 1, 8};
  same_bits_on_any_workers<float>(200, 20, [&](const Context& context, Matrix<float> maps) {
    std::vector<float> out(200 * 8), own_maps(200 * 20);
    attend<float>(context, example, 0.5f, {}, {out.data(), 200, 8}, own_maps.data());
    for (std::size_t i = 0; i < own_maps.size(); ++i) maps.row(i / 20)[i % 20] = own_maps[i];
  });
}

TEST_CASE("The scale of attention is one over the root of a head's width", "[ops]") {
  CHECK(q2l::ops::attention_scale<double>(2048, 4) == 1.0 / std::sqrt(512.0));
  CHECK(q2l::ops::attention_scale<float>(64, 4) == 0.25f);
}

TEMPLATE_TEST_CASE("Heads of no width have scores of 0", "[ops]", float, double) {
  using T = TestType;
  for (const q2l::Precision precision : {q2l::Precision::f32, q2l::Precision::bf16}) {
    PoisonedMatrix<T> maps(2 * 3, 4, 0);
    run_planned([&](const Context& context) {
      q2l::ops::scaled_dot_product_attention<T, DefaultArch>(
          context, {nullptr, 3, 0}, {nullptr, 4, 0}, {nullptr, 4, 0}, 1, 2, T(1), {},
          {nullptr, 3, 0}, maps.view().data, precision);
    });
    CHECK(maps.values() == std::vector<T>(2 * 3 * 4, T(0.25)));
  }
}

TEST_CASE("Attention refuses operands that do not fit", "[ops]") {
  std::vector<float> storage(1000);
  const auto matrix = [&](std::size_t rows, std::size_t columns) {
    return Matrix<float>(storage.data(), rows, columns);
  };
  const auto call = [](Matrix<const float> q, Matrix<const float> k, Matrix<const float> v,
                       std::size_t sequences, std::size_t heads, Matrix<float> out,
                       AttentionBias<float> bias = {}) {
    return [=](const Context& context) {
      q2l::ops::scaled_dot_product_attention<float, DefaultArch>(context, q, k, v, sequences, heads,
                                                                 1.0f, bias, out);
    };
  };
  const Matrix<float> q = matrix(4, 6), k = matrix(8, 6);
  const std::string op = "scaled_dot_product_attention";
  check_bad_argument(op, call(q, k, k, 0, 2, q));
  check_bad_argument(op, call(q, k, k, 2, 0, q));
  check_bad_argument(op, call(q, k, k, 2, 4, q));                        // heads and width
  check_bad_argument(op, call(q, k, k, 3, 2, q));                        // sequences and queries
  check_bad_argument(op, call(q, matrix(9, 6), matrix(9, 6), 2, 2, q));  // sequences and keys
  check_bad_argument(op, call(q, matrix(0, 6), matrix(0, 6), 2, 2, q));  // no keys
  check_bad_argument(op, call(q, k, k, 2, 2, q, {.masks = storage.data()}));
  check_bad_argument(op + ": columns of k", call(q, matrix(8, 4), k, 2, 2, q));
  check_bad_argument(op + ": columns of v", call(q, k, matrix(8, 4), 2, 2, q));
  check_bad_argument(op + ": rows of v", call(q, k, matrix(6, 6), 2, 2, q));
  check_bad_argument(op + ": rows of out", call(q, k, k, 2, 2, matrix(2, 6)));
  check_bad_argument(op + ": columns of out", call(q, k, k, 2, 2, matrix(4, 4)));
}

TEST_CASE("Attention in bf16 is that of operands rounded to bfloat16", "[ops]") {
  for (const std::size_t tokens : {1u, 9u, 33u, 145u}) {
    CAPTURE(tokens);
    ScaledDotProductExample example{2, 70, tokens, 3, 20};
    for (std::vector<float>* const operand : {&example.q, &example.k, &example.v}) {
      for (float& x : *operand) x = static_cast<float>(q2l::to_bfloat16(x));
    }
    const std::size_t rows = example.sequences * example.queries;
    const PoisonedMatrix<float> q(rows, example.width, example.q);
    const PoisonedMatrix<float> k(2 * tokens, example.width, example.k);
    const PoisonedMatrix<float> v(2 * tokens, example.width, example.v);
    const PoisonedMatrix<double> wide_q(rows, example.width, example.q);
    const PoisonedMatrix<double> wide_k(2 * tokens, example.width, example.k);
    const PoisonedMatrix<double> wide_v(2 * tokens, example.width, example.v);
    PoisonedMatrix<double> rounded(rows, example.width), exact(rows, example.width);
    run_planned([&](const Context& context) {
      for (const q2l::Precision precision : {q2l::Precision::bf16, q2l::Precision::f32}) {
        q2l::ops::scaled_dot_product_attention<double, DefaultArch>(
            context, wide_q.view(), wide_k.view(), wide_v.view(), 2, 3, 0.5, {},
            precision == q2l::Precision::bf16 ? rounded.view() : exact.view(), nullptr, precision);
      }
    });
    const std::vector<float> out = same_bits_on_any_workers<float>(
        rows, example.width, [&](const Context& context, Matrix<float> result) {
          q2l::ops::scaled_dot_product_attention<float, DefaultArch>(
              context, q.view(), k.view(), v.view(), 2, 3, 0.5f, {}, result, nullptr,
              q2l::Precision::bf16);
        });
    double largest = 0;
    for (const float x : example.v) largest = std::max(largest, std::abs(static_cast<double>(x)));
    double changed = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      // A weight is off by at most 2^-8 of itself, here and there.
      REQUIRE(std::abs(static_cast<double>(out[i]) - rounded.values()[i]) <=
              (2.0 / 256 + 1e-5) * largest);
      changed = std::max(changed, std::abs(rounded.values()[i] - exact.values()[i]));
    }
    CHECK((changed > 0) == (tokens > 1));
    CHECK(changed <= largest / 256);
  }
}
