// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/feed_forward.hpp>
#include <vector>

#include "reference/feed_forward_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::Matrix;
using q2l::simd::DefaultArch;

TEMPLATE_TEST_CASE("A feed-forward network is right with each activation, in place too", "[ops]",
                   float, double) {
  using T = TestType;
  const auto reference = FeedForwardReference::filled("", 19, 45);
  const std::vector<float> values = fill("x", 7 * 19, 0.0, 1.0, 1);
  const Estimate exact(7, 19, values);
  const PoisonedMatrix<T> x(7, 19, values);
  for (const Activation& activation : {Activation::relu(), Activation::gelu()}) {
    const auto layer = reference.make<T, DefaultArch>(activation);
    PoisonedMatrix<T> out(7, 19), added(7, 19, values);
    run_planned([&](const Context& context) {
      q2l::ops::feed_forward<T, DefaultArch>(context, layer, x.view(), out.view());
      q2l::ops::feed_forward<T, DefaultArch>(context, layer, x.view(), added.view(),
                                             {.residual = added.view()});
    });
    CHECK(differences(out.view(), reference.apply<T>(exact, activation)) == "");
    CHECK(differences(added.view(), reference.apply<T>(exact, activation, exact)) == "");
    CHECK(out.is_intact());
    CHECK(added.is_intact());
  }
}

TEST_CASE("A feed-forward network adds to its own input", "[ops]") {
  const auto reference = FeedForwardReference::filled("", 8, 20);
  const auto layer = reference.make<double, DefaultArch>(Activation::relu());
  const std::vector<float> values = fill("x", 5 * 8, 0.0, 1.0, 1);
  const Estimate exact(5, 8, values);
  PoisonedMatrix<double> x(5, 8, values);
  run_planned([&](const Context& context) {
    q2l::ops::feed_forward<double, DefaultArch>(context, layer, x.view(), x.view(),
                                                {.residual = x.view()});
  });
  CHECK(differences(x.view(), reference.apply<double>(exact, Activation::relu(), exact)) == "");
}

TEST_CASE("A feed-forward network gives the same bits on any number of threads and for any batch",
          "[ops]") {
  const auto layer =
      FeedForwardReference::filled("", 96, 300).make<float, DefaultArch>(Activation::relu());
  const PoisonedMatrix<float> x(4 * 30, 96, fill("x", 4 * 30 * 96, 0.0, 1.0, 1));
  const std::vector<float> all =
      same_bits_on_any_workers<float>(4 * 30, 96, [&](const Context& context, Matrix<float> out) {
        q2l::ops::feed_forward<float, DefaultArch>(context, layer, x.view(), out);
      });
  check_same_bits_alone(all, 4, 30, 96,
                        [&](const Context& context, std::size_t n, Matrix<float> out) {
                          q2l::ops::feed_forward<float, DefaultArch>(
                              context, layer, x.view().row_range(n * 30, 30), out);
                        });
}

TEST_CASE("A wide feed-forward network takes no more scratch for more rows", "[ops]") {
  const std::size_t width = 8, features = std::size_t{1} << 16;
  const auto layer = FeedForwardReference::filled("", width, features)
                         .make<float, DefaultArch>(Activation::relu());
  const auto scratch_for = [&](std::size_t rows) {
    q2l::SerialRunner serial;
    q2l::Workspace plan = q2l::Workspace::planning();
    q2l::ops::feed_forward<float, DefaultArch>(Context{serial, 1, plan}, layer,
                                               Matrix<const float>(nullptr, rows, width),
                                               Matrix<float>(nullptr, rows, width));
    return plan.peak();
  };
  CHECK(scratch_for(9605) == scratch_for(32));
}

TEST_CASE("A feed-forward network refuses operands that do not fit", "[ops]") {
  const auto layer =
      FeedForwardReference::filled("", 3, 5).make<float, DefaultArch>(Activation::relu());
  std::vector<float> storage(64);
  const auto call = [&](std::size_t in_columns, std::size_t out_rows, std::size_t out_columns) {
    return [=, &layer, &storage](const Context& context) {
      q2l::ops::feed_forward<float, DefaultArch>(
          context, layer, Matrix<const float>(storage.data(), 2, in_columns),
          Matrix<float>(storage.data(), out_rows, out_columns));
    };
  };
  check_bad_argument("linear: columns of in", call(4, 2, 3));
  check_bad_argument("feed_forward: rows of out", call(3, 1, 3));
  check_bad_argument("matmul: columns of out", call(3, 2, 4));
}
