// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/kernels/row_dot_kernel.hpp>
#include <vector>

#include "reference/linear_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::simd::DefaultArch;

TEMPLATE_TEST_CASE("The scalar product of rows of any length is right", "[kernels]", float,
                   double) {
  using T = TestType;
  for (std::size_t count = 1; count <= 67; ++count) {
    CAPTURE(count);
    const std::vector<float> a_values = fill("a", count, 0.0, 1.0, count);
    const std::vector<float> b_values = fill("b", count, 0.0, 1.0, count);
    const PoisonedMatrix<T> a(1, count, a_values), b(1, count, b_values, 3, 2);
    T sum = q2l::kernels::dot_row<T, DefaultArch>(a.view().data, b.view().data, count);
    CHECK(differences(q2l::Matrix<T>(&sum, 1, 1),
                      LinearReference::apply<T>({1, count, a_values}, {1, count, b_values}, {})) ==
          "");
  }
}

TEST_CASE("The scalar product of nothing is zero", "[kernels]") {
  CHECK(q2l::kernels::dot_row<float, DefaultArch>(nullptr, nullptr, 0) == 0.0f);
}
