// SPDX-License-Identifier: MIT
#include "support/poisoned_buffer.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

using q2l::test::PoisonedMatrix;

TEMPLATE_TEST_CASE("A poisoned matrix is misaligned, has gaps between its rows and begins as NaN",
                   "[support]", float, double) {
  PoisonedMatrix<TestType> matrix(2, 3);
  CHECK(reinterpret_cast<std::uintptr_t>(matrix.view().data) % 64 == sizeof(TestType));
  CHECK(matrix.view().stride == 6);
  for (const TestType value : matrix.values()) CHECK(std::isnan(value));
}

TEMPLATE_TEST_CASE("A poisoned matrix notices a write anywhere but in its elements", "[support]",
                   float, double) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const auto intact_after_write_at = [&](int offset) {
    PoisonedMatrix<TestType> matrix(2, 3, values);
    matrix.view().data[offset] = TestType(7);
    return matrix.is_intact();
  };
  for (const int element : {0, 1, 2, 6, 7, 8}) CHECK(intact_after_write_at(element));
  for (const int outside : {-1, 3, 4, 5, 9, 11, 12}) CHECK_FALSE(intact_after_write_at(outside));
}

TEST_CASE("A poisoned matrix gives its elements back in order", "[support]") {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const PoisonedMatrix<float> matrix(3, 2, values, 5, 3);
  CHECK(matrix.values() == values);
  CHECK(*matrix.map(1, 3, 1).pixel(0, 2, 0) == 5.0f);
}
