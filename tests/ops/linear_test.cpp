// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/linear.hpp>
#include <utility>
#include <vector>

#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using Linear = q2l::ops::Linear<T, DefaultArch>;

/// A layer with its weights in both forms.
template <class T>
struct LinearExample {
  std::size_t in, out;
  bool has_bias = true;
  std::vector<float> weight = fill("weight", in* out, 0.0, 1.0, in);
  std::vector<float> bias = fill("bias", has_bias ? out : 0, 0.0, 1.0, out);
  Linear<T> layer{in, out, values_of<T>(weight), values_of<T>(bias)};

  [[nodiscard]] Estimate expected(const Estimate& x, const Estimate& residual = {},
                                  Activation activation = {}) const {
    return LinearReference::apply<T>(
        x, {out, in, weight}, has_bias ? Estimate(1, out, bias) : Estimate(), residual, activation);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("A linear layer of odd sizes is right", "[ops]", float, double) {
  using T = TestType;
  for (const std::size_t rows : {1u, 5u, 6u, 7u, 31u}) {
    for (const std::size_t in : {1u, 3u, 17u, 64u, 130u}) {
      for (const std::size_t out_features : {1u, 2u, 15u, 16u, 33u, 70u}) {
        for (const bool has_bias : {false, true}) {
          CAPTURE(rows, in, out_features, has_bias);
          const LinearExample<T> example{in, out_features, has_bias};
          CHECK(example.layer.in_features() == in);
          CHECK(example.layer.out_features() == out_features);
          const std::vector<float> values = fill("x", rows * in, 0.0, 1.0, rows);
          const PoisonedMatrix<T> x(rows, in, values);
          PoisonedMatrix<T> out(rows, out_features);
          run_planned([&](const Context& context) {
            q2l::ops::linear<T, DefaultArch>(context, example.layer, x.view(), out.view());
          });
          CHECK(differences(out.view(), example.expected({rows, in, values})) == "");
          CHECK(out.is_intact());
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("A linear layer adds a residual, its own output too, before its activation",
                   "[ops]", float, double) {
  using T = TestType;
  const LinearExample<T> example{21, 35};
  const std::vector<float> values = fill("x", 13 * 21, 0.0, 1.0, 1);
  const std::vector<float> residual_values = fill("residual", 13 * 35, 0.0, 1.0, 2);
  const PoisonedMatrix<T> x(13, 21, values), residual(13, 35, residual_values, 7, 5);
  for (const Activation& activation :
       {Activation::identity(), Activation::relu(), Activation::gelu(), Activation::quick_gelu()}) {
    PoisonedMatrix<T> out(13, 35), in_place(13, 35, residual_values);
    run_planned([&](const Context& context) {
      q2l::ops::linear<T, DefaultArch>(context, example.layer, x.view(), out.view(),
                                       {activation, residual.view()});
      q2l::ops::linear<T, DefaultArch>(context, example.layer, x.view(), in_place.view(),
                                       {activation, in_place.view()});
    });
    CHECK(differences(out.view(), example.expected({13, 21, values}, {13, 35, residual_values},
                                                   activation)) == "");
    CHECK(same_bits(in_place.values(), out.values()));
    CHECK(out.is_intact());
    CHECK(in_place.is_intact());
  }
}

TEST_CASE("A linear layer gives the same bits on any number of threads and for any batch",
          "[ops]") {
  // One wide and one tall: tasks are split by columns and by rows.
  for (const auto& [rows, out_features] : {std::pair{52u, 1200u}, std::pair{1000u, 70u}}) {
    const LinearExample<float> example{70, out_features};
    const PoisonedMatrix<float> x(rows, 70, fill("x", rows * 70, 0.0, 1.0, 1));
    const std::vector<float> all = same_bits_on_any_workers<float>(
        rows, out_features, [&](const Context& context, Matrix<float> out) {
          q2l::ops::linear<float, DefaultArch>(context, example.layer, x.view(), out);
        });
    check_same_bits_alone(
        all, 4, rows / 4, out_features,
        [&, rows = rows](const Context& context, std::size_t n, Matrix<float> out) {
          q2l::ops::linear<float, DefaultArch>(context, example.layer,
                                               x.view().row_range(n * (rows / 4), rows / 4), out);
        });
  }
}

TEST_CASE("A linear layer of no rows does nothing", "[ops]") {
  const LinearExample<float> example{3, 5};
  PoisonedMatrix<float> out(0, 5);
  run_planned([&](const Context& context) {
    q2l::ops::linear<float, DefaultArch>(context, example.layer, Matrix<const float>(nullptr, 0, 3),
                                         out.view());
  });
  CHECK(out.is_intact());
}

TEMPLATE_TEST_CASE("A linear layer of no inputs gives its bias", "[ops]", float, double) {
  using T = TestType;
  const LinearExample<T> example{0, 35};
  const PoisonedMatrix<T> x(7, 0);
  PoisonedMatrix<T> out(7, 35);
  run_planned([&](const Context& context) {
    q2l::ops::linear<T, DefaultArch>(context, example.layer, x.view(), out.view());
  });
  CHECK(differences(out.view(), example.expected(Estimate(7, 0, std::vector<float>()))) == "");
  CHECK(out.is_intact());
}

TEST_CASE("A linear layer refuses operands that do not fit", "[ops]") {
  const std::vector<float> weight(15), bias(5);
  check_bad_argument("Linear: elements of weight",
                     [&](const Context&) { Linear<float>(4, 5, weight, bias); });
  check_bad_argument("Linear: elements of bias",
                     [&](const Context&) { Linear<float>(5, 3, weight, bias); });

  const Linear<float> layer(3, 5, weight, bias);
  std::vector<float> storage(64);
  const auto matrix = [&](std::size_t rows, std::size_t columns) {
    return Matrix<float>(storage.data(), rows, columns);
  };
  const auto call = [&](Matrix<const float> in, Matrix<float> out, Matrix<const float> residual) {
    return [=, &layer](const Context& context) {
      q2l::ops::linear<float, DefaultArch>(context, layer, in, out, {.residual = residual});
    };
  };
  check_bad_argument("linear: columns of in", call(matrix(2, 4), matrix(2, 5), {}));
  check_bad_argument("linear: rows of out", call(matrix(2, 3), matrix(3, 5), {}));
  check_bad_argument("matmul: columns of out", call(matrix(2, 3), matrix(2, 4), {}));
  check_bad_argument("matmul: rows of residual", call(matrix(2, 3), matrix(2, 5), matrix(1, 5)));
  check_bad_argument("matmul: columns of residual", call(matrix(2, 3), matrix(2, 5), matrix(2, 6)));
}
