// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/multi_head_attention.hpp>
#include <span>
#include <vector>

#include "reference/multi_head_attention_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::MultiHeadAttentionParameters;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using SelfAttention = q2l::ops::SelfAttention<T, DefaultArch>;

template <class T>
SelfAttention<T> self_attention_layer(const MultiHeadAttentionReference& reference) {
  return reference.layer<T>(
      [](const MultiHeadAttentionParameters<T>& p) { return SelfAttention<T>(p); });
}

}  // namespace

TEMPLATE_TEST_CASE("Self-attention takes queries and keys from one input and values from another",
                   "[ops]", float, double) {
  using T = TestType;
  for (const auto& [sequences, tokens, width, heads] :
       {std::array{1u, 1u, 8u, 1u}, std::array{1u, 13u, 24u, 3u}, std::array{3u, 9u, 20u, 4u},
        std::array{2u, 50u, 35u, 5u}}) {
    CAPTURE(sequences, tokens, width, heads);
    const MultiHeadAttentionReference reference =
        MultiHeadAttentionReference::filled("attn", width, heads);
    const SelfAttention<T> layer = self_attention_layer<T>(reference);
    const std::size_t rows = sequences * tokens;
    const std::vector<float> x = fill("x", rows * width, 0.0, 1.0, 1);
    const std::vector<float> positioned = fill("positioned", rows * width, 0.0, 1.0, 2);
    const Estimate qk(rows, width, positioned), value(rows, width, x);
    const PoisonedMatrix<T> in(rows, width, x), qk_in(rows, width, positioned);
    PoisonedMatrix<T> out(rows, width), added(rows, width, x);
    run_planned([&, sequences = sequences](const Context& context) {
      q2l::ops::self_attention<T, DefaultArch>(context, layer, sequences, qk_in.view(), in.view(),
                                               out.view());
      q2l::ops::self_attention<T, DefaultArch>(context, layer, sequences, qk_in.view(),
                                               added.view(), added.view(),
                                               {.residual = added.view()});
    });
    CHECK(differences(out.view(), reference.apply<T>(qk, qk, value, sequences).out) == "");
    CHECK(differences(added.view(), reference.apply<T>(qk, qk, value, sequences, value).out) == "");
    CHECK(out.is_intact());
    CHECK(added.is_intact());
  }
}

TEST_CASE("Self-attention gives the same bits on any number of threads and for any batch",
          "[ops]") {
  const SelfAttention<float> layer =
      self_attention_layer<float>(MultiHeadAttentionReference::filled("attn", 96, 4));
  const PoisonedMatrix<float> x(4 * 60, 96, fill("x", 4 * 60 * 96, 0.0, 1.0, 1));
  const std::vector<float> all =
      same_bits_on_any_workers<float>(4 * 60, 96, [&](const Context& context, Matrix<float> out) {
        q2l::ops::self_attention<float, DefaultArch>(context, layer, 4, x.view(), x.view(), out);
      });
  check_same_bits_alone(
      all, 4, 60, 96, [&](const Context& context, std::size_t n, Matrix<float> out) {
        const Matrix<const float> image = x.view().row_range(n * 60, 60);
        q2l::ops::self_attention<float, DefaultArch>(context, layer, 1, image, image, out);
      });
}

TEST_CASE("Planning finds exactly the memory that self-attention takes on any number of workers",
          "[ops]") {
  const SelfAttention<float> layer =
      self_attention_layer<float>(MultiHeadAttentionReference::filled("attn", 24, 3));
  PoisonedMatrix<float> x(2 * 50, 24, fill("x", 2 * 50 * 24, 0.0, 1.0, 1));
  q2l::SerialRunner runner;
  for (const std::size_t workers : {1u, 2u, 8u}) {
    const auto run = [&](q2l::Workspace& workspace) {
      q2l::ops::self_attention<float, DefaultArch>({runner, workers, workspace}, layer, 2, x.view(),
                                                   x.view(), x.view());
      return workspace.peak();
    };
    q2l::Workspace plan = q2l::Workspace::planning();
    const std::size_t planned = run(plan);
    q2l::Workspace roomy(2 * planned);
    CHECK(run(roomy) == planned);
    q2l::Workspace narrow(planned - q2l::cache_line);
    CHECK(error_of([&] { run(narrow); }).code() == q2l::ErrorCode::limit_exceeded);
  }
}

TEST_CASE("Multi-head attention refuses parameters and operands that do not fit", "[ops]") {
  const std::vector<float> weight(3 * 36), bias(18), out_weight(36), out_bias(6);
  const auto construct = [](std::size_t heads, std::span<const float> iw, std::span<const float> ib,
                            std::span<const float> ow, std::span<const float> ob) {
    return [=](const Context&) { SelfAttention<float>({6, heads, iw, ib, ow, ob}); };
  };
  check_bad_argument("MultiHeadAttention", construct(4, weight, bias, out_weight, out_bias));
  check_bad_argument("MultiHeadAttention", construct(0, weight, bias, out_weight, out_bias));
  check_bad_argument("MultiHeadAttention: elements of in_proj_weight",
                     construct(2, out_weight, bias, out_weight, out_bias));
  check_bad_argument("MultiHeadAttention: elements of in_proj_bias",
                     construct(2, weight, out_bias, out_weight, out_bias));
  check_bad_argument("Linear: elements of weight", construct(2, weight, bias, weight, out_bias));
  check_bad_argument("Linear: elements of bias", construct(2, weight, bias, out_weight, bias));

  const SelfAttention<float> layer({6, 2, weight, bias, out_weight, out_bias});
  std::vector<float> storage(100);
  const auto call = [&](std::size_t sequences, std::size_t qk_rows, std::size_t value_rows,
                        std::size_t columns, std::size_t out_rows) {
    return [=, &layer, &storage](const Context& context) {
      const auto matrix = [&](std::size_t rows) {
        return Matrix<float>(storage.data(), rows, columns);
      };
      q2l::ops::self_attention<float, DefaultArch>(context, layer, sequences, matrix(qk_rows),
                                                   matrix(value_rows), matrix(out_rows));
    };
  };
  check_bad_argument("linear: rows of out", call(2, 6, 4, 6, 4));
  check_bad_argument("linear: columns of in", call(2, 4, 4, 5, 4));
  check_bad_argument("linear: rows of out", call(2, 4, 4, 6, 2));
  check_bad_argument("scaled_dot_product_attention", call(3, 4, 4, 6, 4));
}
