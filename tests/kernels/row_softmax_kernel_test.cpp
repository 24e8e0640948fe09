// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <limits>
#include <query2label/kernels/row_softmax_kernel.hpp>
#include <vector>

#include "reference/softmax_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::simd::DefaultArch;

namespace {

template <class T>
void check_softmax_row(std::size_t count, double center, double radius, bool with_bias, T scale) {
  CAPTURE(count, center, radius, with_bias, scale);
  const std::vector<float> values = fill("x", count, center, radius, count);
  const std::vector<float> bias_values = fill("bias", count, 0.0, 2.0, count);
  const Estimate expected = SoftmaxReference::apply<T>(
      {1, count, values}, with_bias ? Estimate(1, count, bias_values) : Estimate(),
      static_cast<double>(scale));
  const PoisonedMatrix<T> bias(1, count, bias_values);
  PoisonedMatrix<T> row(1, count, values);
  q2l::kernels::softmax_row<T, DefaultArch>(row.view().data, with_bias ? bias.view().data : nullptr,
                                            scale, count);
  CHECK(differences(row.view(), expected) == "");
  CHECK(row.is_intact());
}

template <class T>
std::vector<T> softmax(std::vector<T> row, T scale = T(1)) {
  q2l::kernels::softmax_row<T, DefaultArch>(row.data(), nullptr, scale, row.size());
  return row;
}

}  // namespace

TEMPLATE_TEST_CASE("The softmax of a row of any length is right", "[kernels]", float, double) {
  for (std::size_t count = 1; count <= 67; ++count) {
    check_softmax_row<TestType>(count, 0.0, 3.0, false, TestType(1));
    check_softmax_row<TestType>(count, 0.0, 3.0, true, TestType(0.125));
  }
  check_softmax_row<TestType>(784, 0.0, 8.0, true, TestType(0.7));
}

TEMPLATE_TEST_CASE("Scores whose exponentials overflow are harmless, high or low", "[kernels]",
                   float, double) {
  for (const double center : {95.0, -95.0, 5000.0, -5000.0}) {
    for (const std::size_t count : {1u, 5u, 8u, 33u}) {
      check_softmax_row<TestType>(count, center, 5.0, false, TestType(1));
      check_softmax_row<TestType>(count, center, 5.0, true, TestType(1));
    }
  }
  check_softmax_row<TestType>(33, 0.0, 1000.0, false, TestType(1));
}

TEMPLATE_TEST_CASE("A single score has all the weight, equal scores share it", "[kernels]", float,
                   double) {
  using T = TestType;
  CHECK(softmax<T>({T(-7)}) == std::vector<T>{T(1)});
  CHECK(softmax<T>(std::vector<T>(16, T(3))) == std::vector<T>(16, T(1) / 16));
  CHECK(softmax<T>({T(0), T(2000), T(0)}) == std::vector<T>{T(0), T(1), T(0)});
}

TEMPLATE_TEST_CASE("The largest finite scores do not overflow", "[kernels]", float, double) {
  using T = TestType;
  constexpr T most = std::numeric_limits<T>::max();
  CHECK(softmax<T>({most, -most, most}) == std::vector<T>{T(0.5), T(0), T(0.5)});
  CHECK(softmax<T>({-most, -most}, T(0.5)) == std::vector<T>{T(0.5), T(0.5)});
}

TEMPLATE_TEST_CASE("A score of minus infinity gets no weight", "[kernels]", float, double) {
  using T = TestType;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  CHECK(softmax<T>({T(1), -infinity, T(1)}) == std::vector<T>{T(0.5), T(0), T(0.5)});
}
