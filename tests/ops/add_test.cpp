// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/add.hpp>
#include <vector>

#include "reference/add_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::simd::DefaultArch;

TEMPLATE_TEST_CASE("Rows are added with the second operand repeated, in place too", "[ops]", float,
                   double) {
  using T = TestType;
  for (const std::size_t columns : {1u, 8u, 13u, 67u}) {
    for (const std::size_t repeated : {1u, 2u, 3u, 6u}) {
      CAPTURE(columns, repeated);
      const std::vector<float> a_values = fill("a", 6 * columns, 0.0, 1.0, 1);
      const std::vector<float> b_values = fill("b", repeated * columns, 0.0, 1.0, 2);
      const PoisonedMatrix<T> a(6, columns, a_values), b(repeated, columns, b_values, 4, 2);
      PoisonedMatrix<T> out(6, columns), in_place(6, columns, a_values);
      run_planned([&](const Context& context) {
        q2l::ops::add<T, DefaultArch>(context, a.view(), b.view(), out.view());
        q2l::ops::add<T, DefaultArch>(context, in_place.view(), b.view(), in_place.view());
      });
      CHECK(differences(out.view(), AddReference::apply<T>({6, columns, a_values},
                                                           {repeated, columns, b_values})) == "");
      CHECK(same_bits(in_place.values(), out.values()));
      CHECK(out.is_intact());
      CHECK(in_place.is_intact());
    }
  }
}

TEST_CASE("A sum gives the same bits on any number of threads and for any batch", "[ops]") {
  const PoisonedMatrix<float> a(4 * 49, 515, fill("a", 4 * 49 * 515, 0.0, 1.0, 1));
  const PoisonedMatrix<float> b(49, 515, fill("b", 49 * 515, 0.0, 1.0, 2));
  const std::vector<float> all =
      same_bits_on_any_workers<float>(4 * 49, 515, [&](const Context& context, Matrix<float> out) {
        q2l::ops::add<float, DefaultArch>(context, a.view(), b.view(), out);
      });
  check_same_bits_alone(
      all, 4, 49, 515, [&](const Context& context, std::size_t n, Matrix<float> out) {
        q2l::ops::add<float, DefaultArch>(context, a.view().row_range(n * 49, 49), b.view(), out);
      });
}

TEST_CASE("A sum refuses operands that do not fit", "[ops]") {
  std::vector<float> storage(64);
  const auto matrix = [&](std::size_t rows, std::size_t columns) {
    return Matrix<float>(storage.data(), rows, columns);
  };
  const auto call = [](Matrix<const float> a, Matrix<const float> b, Matrix<float> out) {
    return [=](const Context& context) { q2l::ops::add<float, DefaultArch>(context, a, b, out); };
  };
  check_bad_argument("add: rows of out", call(matrix(4, 3), matrix(2, 3), matrix(2, 3)));
  check_bad_argument("add: columns of out", call(matrix(4, 3), matrix(2, 3), matrix(4, 2)));
  check_bad_argument("add: columns of b", call(matrix(4, 3), matrix(2, 2), matrix(4, 3)));
  check_bad_argument("add", call(matrix(4, 3), matrix(3, 3), matrix(4, 3)));
  check_bad_argument("add", call(matrix(4, 3), matrix(0, 3), matrix(4, 3)));
}
