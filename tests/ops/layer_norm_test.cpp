// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/layer_norm.hpp>
#include <vector>

#include "reference/layer_norm_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::LayerNorm;
using q2l::simd::DefaultArch;

namespace {

template <class T>
LayerNorm<T> norm_of(std::size_t width) {
  return {values_of<T>(fill("weight", width, 1.0, 0.5, 1)),
          values_of<T>(fill("bias", width, 0.0, 0.5, 2))};
}

}  // namespace

TEMPLATE_TEST_CASE("Each row of any width is normalised, in place too", "[ops]", float, double) {
  using T = TestType;
  for (const std::size_t width : {1u, 7u, 16u, 33u, 67u, 256u}) {
    for (const double mean : {0.0, 300.0}) {
      CAPTURE(width, mean);
      const LayerNorm<T> norm = norm_of<T>(width);
      const std::vector<float> values = fill("x", 9 * width, mean, 1.0, width);
      const PoisonedMatrix<T> in(9, width, values);
      PoisonedMatrix<T> out(9, width), in_place(9, width, values);
      run_planned([&](const Context& context) {
        q2l::ops::layer_norm<T, DefaultArch>(context, norm, in.view(), out.view());
        q2l::ops::layer_norm<T, DefaultArch>(context, norm, in_place.view(), in_place.view());
      });
      CHECK(differences(out.view(),
                        LayerNormReference::apply<T>(
                            {9, width, values}, {1, width, fill("weight", width, 1.0, 0.5, 1)},
                            {1, width, fill("bias", width, 0.0, 0.5, 2)})) == "");
      CHECK(same_bits(in_place.values(), out.values()));
      CHECK(out.is_intact());
      CHECK(in_place.is_intact());
    }
  }
}

TEST_CASE("Layer norm gives the same bits on any number of threads and for any batch", "[ops]") {
  const LayerNorm<float> norm = norm_of<float>(515);
  const PoisonedMatrix<float> in(4 * 49, 515, fill("x", 4 * 49 * 515, 0.0, 1.0, 1));
  const std::vector<float> all =
      same_bits_on_any_workers<float>(4 * 49, 515, [&](const Context& context, Matrix<float> out) {
        q2l::ops::layer_norm<float, DefaultArch>(context, norm, in.view(), out);
      });
  check_same_bits_alone(all, 4, 49, 515,
                        [&](const Context& context, std::size_t n, Matrix<float> out) {
                          q2l::ops::layer_norm<float, DefaultArch>(
                              context, norm, in.view().row_range(n * 49, 49), out);
                        });
}

TEST_CASE("Layer norm refuses operands that do not fit", "[ops]") {
  check_bad_argument("LayerNorm: elements of bias", [](const Context&) {
    LayerNorm<float>(std::vector<float>(3), std::vector<float>(4));
  });
  std::vector<float> storage(64);
  const LayerNorm<float> norm = norm_of<float>(5);
  const auto call = [&](std::size_t in_columns, std::size_t out_rows, std::size_t out_columns) {
    return [=, &norm, &storage](const Context& context) {
      q2l::ops::layer_norm<float, DefaultArch>(
          context, norm, Matrix<const float>(storage.data(), 2, in_columns),
          Matrix<float>(storage.data(), out_rows, out_columns));
    };
  };
  check_bad_argument("layer_norm: columns of in", call(4, 2, 5));
  check_bad_argument("layer_norm: columns of out", call(5, 2, 4));
  check_bad_argument("layer_norm: rows of out", call(5, 3, 5));
}
