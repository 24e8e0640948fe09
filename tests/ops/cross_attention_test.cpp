// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/cross_attention.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "reference/add_reference.hpp"
#include "reference/multi_head_attention_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::CrossAttentionForm;
using q2l::ops::MultiHeadAttentionParameters;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using CrossAttention = q2l::ops::CrossAttention<T, DefaultArch>;

constexpr CrossAttentionForm forms[] = {CrossAttentionForm::project_memory,
                                        CrossAttentionForm::project_labels};

template <class T>
CrossAttention<T> cross_attention_layer(const MultiHeadAttentionReference& reference,
                                        CrossAttentionForm form) {
  return reference.layer<T>(
      [form](const MultiHeadAttentionParameters<T>& p) { return CrossAttention<T>(p, form); });
}

/// `labels` vectors asking the tokens of `images` images.
struct CrossAttentionExample {
  std::size_t images, labels, tokens, width, heads;
  std::vector<float> x = fill("x", labels* width, 0.0, 1.0, 1);
  std::vector<float> memory = fill("memory", images* tokens* width, 0.0, 1.0, 2);
  std::vector<float> position = fill("position", tokens* width, 0.0, 1.0, 3);
  MultiHeadAttentionReference reference = MultiHeadAttentionReference::filled("attn", width, heads);

  /// The answers of all images, the labels' own vectors added.
  template <class T>
  [[nodiscard]] AttentionReference::Result expected() const {
    std::vector<float> queries;
    for (std::size_t n = 0; n < images; ++n) queries.insert(queries.end(), x.begin(), x.end());
    const Estimate m(images * tokens, width, memory);
    const Estimate keys = AddReference::apply<T>(m, {tokens, width, position});
    const Estimate q(images * labels, width, queries);
    return reference.apply<T>(q, keys, m, images, q);
  }
};

/// Runs `example` for images `first` and `count` - 1 after it; out [count K, D], maps
/// [count A K, T] or null.
template <class T>
void attend_memory(const Context& context, const CrossAttentionExample& example,
                   const CrossAttention<T>& layer, std::size_t first, std::size_t count,
                   Matrix<T> out, T* maps) {
  const CrossAttentionExample& e = example;
  const PoisonedMatrix<T> x(e.labels, e.width, e.x);
  const PoisonedMatrix<T> memory(e.images * e.tokens, e.width, e.memory);
  const PoisonedMatrix<T> position(e.tokens, e.width, e.position);
  const q2l::Workspace::Frame frame(context.workspace);
  const auto prepared = q2l::ops::prepare_memory<T, DefaultArch>(
      context, layer.form, count, memory.view().row_range(first * e.tokens, count * e.tokens),
      position.view());
  const Matrix<T> queries = context.workspace.take_matrix<T>(layer.query_rows(e.labels), e.width);
  q2l::ops::project_queries<T, DefaultArch>(context, layer, x.view(), queries);
  for (std::size_t n = 0; n < count; ++n) {
    q2l::ops::cross_attention<T, DefaultArch>(
        context, layer, prepared, n, queries, out.row_range(n * e.labels, e.labels),
        {.residual = x.view()}, maps ? maps + n * e.heads * e.labels * e.tokens : nullptr);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Both forms of cross-attention give the reference's values and weights", "[ops]",
                   float, double) {
  using T = TestType;
  for (const CrossAttentionExample& example :
       {CrossAttentionExample{1, 1, 1, 8, 1}, CrossAttentionExample{1, 5, 1, 12, 2},
        CrossAttentionExample{1, 1, 9, 12, 3}, CrossAttentionExample{2, 20, 49, 32, 4},
        CrossAttentionExample{3, 61, 7, 20, 5}, CrossAttentionExample{1, 7, 60, 33, 1}}) {
    const auto expected = example.expected<T>();
    const std::size_t rows = example.images * example.labels;
    for (const CrossAttentionForm form : forms) {
      CAPTURE(example.labels, example.tokens, example.width, example.heads, static_cast<int>(form));
      const CrossAttention<T> layer = cross_attention_layer<T>(example.reference, form);
      PoisonedMatrix<T> out(rows, example.width), without_maps(rows, example.width);
      PoisonedMatrix<T> maps(rows * example.heads, example.tokens, 0);
      run_planned([&](const Context& context) {
        attend_memory<T>(context, example, layer, 0, example.images, out.view(), maps.view().data);
        attend_memory<T>(context, example, layer, 0, example.images, without_maps.view(), nullptr);
      });
      // The reference bounds the first form. The second sums each score over head width + D
      // elements where the first sums D, then the head width: at most three times the error.
      const double wider = form == CrossAttentionForm::project_labels ? 3.0 : 1.0;
      CHECK(differences(out.view(), expected.out.widened(wider)) == "");
      CHECK(differences(maps.view(), expected.maps.widened(wider)) == "");
      CHECK(same_bits(without_maps.values(), out.values()));
      CHECK(out.is_intact());
      CHECK(maps.is_intact());
    }
  }
}

TEST_CASE("A label gets the same bits alone as among others", "[ops]") {
  const CrossAttentionExample all{1, 23, 31, 24, 3};
  for (const CrossAttentionForm form : forms) {
    const CrossAttention<float> layer = cross_attention_layer<float>(all.reference, form);
    PoisonedMatrix<float> out(23, 24);
    run_planned([&](const Context& context) {
      attend_memory<float>(context, all, layer, 0, 1, out.view(), nullptr);
    });
    for (const std::size_t label : {0u, 7u, 22u}) {
      CrossAttentionExample one{1, 1, 31, 24, 3};
      const auto begin = all.x.begin() + static_cast<std::ptrdiff_t>(label * 24);
      one.x.assign(begin, begin + 24);
      PoisonedMatrix<float> alone(1, 24);
      run_planned([&](const Context& context) {
        attend_memory<float>(context, one, layer, 0, 1, alone.view(), nullptr);
      });
      const float* const row = out.view().row(label);
      CHECK(same_bits(alone.values(), {row, row + 24}));
    }
  }
}

TEST_CASE("Cross-attention gives the same bits on any number of threads and for any batch",
          "[ops]") {
  const CrossAttentionExample example{4, 80, 49, 64, 4};
  for (const CrossAttentionForm form : forms) {
    const CrossAttention<float> layer = cross_attention_layer<float>(example.reference, form);
    const std::vector<float> all =
        same_bits_on_any_workers<float>(4 * 80, 64, [&](const Context& context, Matrix<float> out) {
          attend_memory<float>(context, example, layer, 0, 4, out, nullptr);
        });
    check_same_bits_alone(all, 4, 80, 64,
                          [&](const Context& context, std::size_t n, Matrix<float> out) {
                            attend_memory<float>(context, example, layer, n, 1, out, nullptr);
                          });
  }
}

TEST_CASE("What one form of cross-attention is calibrated with is not for the other", "[ops]") {
  const auto products = [](CrossAttentionForm form) {
    std::set<std::string> names;
    static_cast<void>(MultiHeadAttentionReference::filled("attn", 8, 2)
                          .layer<float>([&](MultiHeadAttentionParameters<float> p) {
                            p.settings = [&](std::string_view name) {
                              names.emplace(name);
                              return q2l::ProductSettings{};
                            };
                            return CrossAttention<float>(p, form);
                          }));
    return names;
  };
  CHECK(products(CrossAttentionForm::project_memory) ==
        std::set<std::string>{"query", "key", "value", "out_proj"});
  CHECK(products(CrossAttentionForm::project_labels) ==
        std::set<std::string>{"query", "label_key", "label_value", "out_proj"});
}

TEST_CASE("The cheaper form of cross-attention is that of fewer multiply-adds", "[ops]") {
  // R101 at 448 pixels with COCO's labels; then many more labels than tokens.
  CHECK(q2l::ops::cheaper_form(80, 196, 2048, 4) == CrossAttentionForm::project_labels);
  CHECK(q2l::ops::cheaper_form(500, 49, 2048, 4) == CrossAttentionForm::project_memory);
  CHECK(q2l::ops::cheaper_form(1, 1000, 64, 4) == CrossAttentionForm::project_labels);
}

TEST_CASE("Cross-attention refuses parameters and operands that do not fit", "[ops]") {
  const std::vector<float> weight(3 * 36), bias(18), out_weight(36), out_bias(6);
  for (const CrossAttentionForm form : forms) {
    check_bad_argument("MultiHeadAttention", [&](const Context&) {
      CrossAttention<float>({6, 4, weight, bias, out_weight, out_bias}, form);
    });
    const CrossAttention<float> layer({6, 2, weight, bias, out_weight, out_bias}, form);
    std::vector<float> storage(1000);
    const auto matrix = [&](std::size_t rows, std::size_t columns) {
      return Matrix<float>(storage.data(), rows, columns);
    };
    const auto prepare = [&](const Context& context, std::size_t images, Matrix<const float> tokens,
                             Matrix<const float> position) {
      return q2l::ops::prepare_memory<float, DefaultArch>(context, form, images, tokens, position);
    };
    check_bad_argument("prepare_memory", [&](const Context& context) {
      prepare(context, 0, matrix(8, 6), matrix(4, 6));
    });
    check_bad_argument("prepare_memory", [&](const Context& context) {
      prepare(context, 3, matrix(8, 6), matrix(4, 6));
    });
    for (const std::size_t rows : {1u, 2u, 3u, 8u}) {
      check_bad_argument("prepare_memory: rows of position", [&](const Context& context) {
        prepare(context, 2, matrix(8, 6), matrix(rows, 6));
      });
    }
    check_bad_argument("add: columns of b", [&](const Context& context) {
      prepare(context, 2, matrix(8, 6), matrix(4, 5));
    });
    check_bad_argument("project_queries: rows of out", [&](const Context& context) {
      q2l::ops::project_queries<float, DefaultArch>(context, layer, matrix(3, 6),
                                                    matrix(layer.query_rows(3) + 1, 6));
    });
    const auto call = [&](std::size_t image, std::size_t token_columns, std::size_t query_rows,
                          std::size_t query_columns) {
      return [=, &layer](const Context& context) {
        const auto memory = prepare(context, 2, matrix(8, token_columns), matrix(4, token_columns));
        q2l::ops::cross_attention<float, DefaultArch>(
            context, layer, memory, image, matrix(query_rows, query_columns), matrix(3, 6));
      };
    };
    const std::size_t rows = layer.query_rows(3);
    check_bad_argument("cross_attention", call(2, 6, rows, 6));
    check_bad_argument("cross_attention", [&](const Context& context) {
      q2l::ops::cross_attention<float, DefaultArch>(context, layer, {}, 0, matrix(rows, 6),
                                                    matrix(3, 6));
    });
    check_bad_argument("cross_attention: columns of the tokens", call(0, 5, rows, 6));
    check_bad_argument("cross_attention: rows of queries", call(0, 6, rows - 1, 6));
    check_bad_argument("cross_attention: columns of queries", call(0, 6, rows, 5));
  }
}

TEST_CASE("Cross-attention that projects labels refuses a memory prepared for the other form",
          "[ops]") {
  const CrossAttentionExample example{2, 3, 4, 6, 2};
  const auto attend = [&](CrossAttentionForm layer_form, CrossAttentionForm memory_form) {
    const auto layer = cross_attention_layer<float>(example.reference, layer_form);
    return [&example, layer, memory_form](const Context& context) {
      std::vector<float> storage(1000);
      const auto memory = q2l::ops::prepare_memory<float, DefaultArch>(
          context, memory_form, 2, {example.memory.data(), 8, 6}, {example.position.data(), 4, 6});
      q2l::ops::cross_attention<float, DefaultArch>(context, layer, memory, 1,
                                                    {storage.data(), layer.query_rows(3), 6},
                                                    {storage.data() + 500, 3, 6});
    };
  };
  check_bad_argument("cross_attention", attend(CrossAttentionForm::project_labels,
                                               CrossAttentionForm::project_memory));
  CHECK_NOTHROW(
      run_planned(attend(CrossAttentionForm::project_memory, CrossAttentionForm::project_labels)));
}
