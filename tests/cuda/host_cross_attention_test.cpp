// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/cross_attention.hpp>
#include <vector>

#include "cuda/attention_example.hpp"
#include "cuda/host_attention.hpp"
#include "reference/multi_head_attention_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::CrossAttentionForm;
using q2l::ops::MultiHeadAttentionParameters;
using q2l::simd::DefaultArch;
using Layer = q2l::ops::CrossAttention<float, DefaultArch>;

TEST_CASE("The GPU's attention weights are those of ops/cross_attention in both of its forms",
          "[cuda]") {
  constexpr std::size_t labels = 18, tokens = 20, width = 64, heads = 2;
  const std::vector<float> x = fill("x", labels * width, 0.0, 1.0, 1);
  const std::vector<float> memory = fill("memory", tokens * width, 0.0, 1.0, 2);
  const std::vector<float> position = fill("position", tokens * width, 0.0, 1.0, 3);
  const auto reference = MultiHeadAttentionReference::filled("attn", width, heads);

  for (const auto form : {CrossAttentionForm::project_memory, CrossAttentionForm::project_labels}) {
    const Layer layer = reference.layer<float>(
        [form](const MultiHeadAttentionParameters<float>& p) { return Layer(p, form); });
    const bool is_reassociated = form == CrossAttentionForm::project_labels;
    const std::size_t head_width = is_reassociated ? width : width / heads;
    AttentionExample example(
        {1, heads, labels, tokens, static_cast<int>(head_width), false, is_reassociated}, 1.0,
        q2l::ops::attention_scale<float>(width, heads));
    std::vector<float> maps(heads * labels * tokens);

    run_planned([&](const Context& context) {
      const Matrix<const float> m(memory.data(), tokens, width);
      const auto prepared = q2l::ops::prepare_memory<float, DefaultArch>(
          context, form, 1, m, {position.data(), tokens, width});
      const auto queries = context.workspace.take_matrix<float>(layer.query_rows(labels), width);
      const auto out = context.workspace.take_matrix<float>(labels, width);
      const auto keys = context.workspace.take_matrix<float>(tokens, width);
      const auto values = context.workspace.take_matrix<float>(tokens, width);
      q2l::ops::project_queries<float, DefaultArch>(context, layer, {x.data(), labels, width},
                                                    queries);
      q2l::ops::cross_attention<float, DefaultArch>(context, layer, prepared, 0, queries, out, {},
                                                    maps.data());
      if (!is_reassociated) {
        q2l::ops::linear<float, DefaultArch>(context, layer.key[0], prepared.positioned, keys);
        q2l::ops::linear<float, DefaultArch>(context, layer.value[0], prepared.tokens, values);
      }
      if (context.is_planning()) return;
      // What the host hands to the GPU.
      for (std::size_t h = 0; h < heads; ++h) {
        const int head = static_cast<int>(h);
        const std::size_t column = is_reassociated ? 0 : h * head_width;
        for (std::size_t l = 0; l < labels; ++l) {
          std::copy_n(queries.row(is_reassociated ? h * labels + l : l) + column, head_width,
                      example.q.at(0, head, static_cast<int>(l)));
        }
        const Matrix<const float> k = is_reassociated ? prepared.positioned : keys;
        const Matrix<const float> v = is_reassociated ? prepared.tokens : values;
        for (std::size_t t = 0; t < tokens; ++t) {
          const int token = static_cast<int>(t);
          std::copy_n(k.row(t) + column, head_width, example.k.at(0, head, token));
          std::copy_n(v.row(t) + column, head_width, example.v.at(0, head, token));
        }
      }
    });

    // Both have the rounding of one softmax of the same operands.
    Estimate expected = example.expected(f32_rounding).maps.widened(2.0);
    expected.value.assign(maps.begin(), maps.end());
    using Tiling = q2l::cuda::AttentionTiling<q2l::cuda::F32Arithmetic, 64, 32, 16>;
    const AttentionOutcome actual = attend_on_host<Tiling, true>(example);
    CAPTURE(is_reassociated);
    CHECK(differences(Matrix<const float>(actual.maps.data(), heads * labels, tokens), expected) ==
          "");
  }
}
