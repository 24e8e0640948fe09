// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <numeric>
#include <query2label/core/tensor.hpp>
#include <vector>

using q2l::FeatureMap;
using q2l::Matrix;

TEST_CASE("Parts of a matrix are views of the same elements", "[core]") {
  std::vector<int> storage(4 * 5);
  std::iota(storage.begin(), storage.end(), 0);
  const Matrix<int> matrix(storage.data(), 4, 3, 5);
  const Matrix<const int> rows = matrix.row_range(1, 2);
  CHECK((rows.rows == 2 && rows.columns == 3 && rows.stride == 5));
  CHECK(rows.row(1)[2] == 12);
  const Matrix<int> columns = matrix.column_range(1, 2);
  CHECK((columns.rows == 4 && columns.columns == 2 && columns.stride == 5));
  CHECK(columns.row(3)[0] == 16);
}

TEST_CASE("A feature map is channels last, and its pixels are the token matrix", "[core]") {
  std::vector<int> storage(2 * 3 * 4 * 5);
  std::iota(storage.begin(), storage.end(), 0);
  const FeatureMap<int> map(storage.data(), 2, 3, 4, 2, 5);
  CHECK(map.pixel_count() == 24);
  CHECK(*map.pixel(1, 2, 3) == ((1 * 3 + 2) * 4 + 3) * 5);
  CHECK(map.pixels().row(23) == map.pixel(1, 2, 3));
  CHECK((map.pixels().columns == 2 && map.pixels().stride == 5));
  const FeatureMap<const int> second = map.image(1);
  CHECK((second.batch == 1 && second.height == 3 && second.width == 4));
  CHECK(second.pixel(0, 2, 3) == map.pixel(1, 2, 3));
}
