// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/kernels/row_norm_kernel.hpp>
#include <vector>

#include "reference/layer_norm_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::simd::DefaultArch;

namespace {

/// Normalises one row of `count` elements around `mean`, once apart and once in place.
template <class T>
void check_norm_row(std::size_t count, double mean, double radius) {
  CAPTURE(count, mean, radius);
  const std::vector<float> values = fill("x", count, mean, radius, count);
  const std::vector<float> weight_values = fill("weight", count, 1.0, 0.5, count);
  const std::vector<float> bias_values = fill("bias", count, 0.0, 0.5, count);
  const Estimate expected = LayerNormReference::apply<T>(
      {1, count, values}, {1, count, weight_values}, {1, count, bias_values});
  const PoisonedMatrix<T> in(1, count, values);
  const PoisonedMatrix<T> weight(1, count, weight_values), bias(1, count, bias_values);
  PoisonedMatrix<T> out(1, count), in_place(1, count, values);
  const auto normalise = [&](const T* from, T* to) {
    q2l::kernels::layer_norm_row<T, DefaultArch>(from, weight.view().data, bias.view().data,
                                                 T(1e-5), to, count);
  };
  normalise(in.view().data, out.view().data);
  normalise(in_place.view().data, in_place.view().data);
  CHECK(differences(out.view(), expected) == "");
  CHECK(out.is_intact());
  CHECK(same_bits(in_place.values(), out.values()));
  CHECK(in_place.is_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("A row of any length is normalised", "[kernels]", float, double) {
  for (std::size_t count = 1; count <= 67; ++count) check_norm_row<TestType>(count, 0.0, 1.0);
  check_norm_row<TestType>(2048, 0.0, 1.0);
}

TEMPLATE_TEST_CASE("A mean a thousand times the deviation costs no more than the mean's rounding",
                   "[kernels]", float, double) {
  for (const std::size_t count : {3u, 17u, 64u, 67u, 512u}) {
    check_norm_row<TestType>(count, 1000.0, 1.0);
    check_norm_row<TestType>(count, -1e4, 100.0);
  }
}

TEMPLATE_TEST_CASE("A row of equal elements becomes the bias", "[kernels]", float, double) {
  using T = TestType;
  const std::vector<T> in(13, T(3)), weight(13, T(2)), bias(13, T(0.25));
  std::vector<T> out(13);
  q2l::kernels::layer_norm_row<T, DefaultArch>(in.data(), weight.data(), bias.data(), T(1e-5),
                                               out.data(), out.size());
  CHECK(out == bias);
}
