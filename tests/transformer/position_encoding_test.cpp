// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <query2label/transformer/position_encoding.hpp>
#include <utility>

#include "reference/position_encoding_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"

using namespace q2l::test;
using q2l::Matrix;
using q2l::PositionEncoding;

TEMPLATE_TEST_CASE("The position code follows its formula on any grid", "[transformer]", float,
                   double) {
  using T = TestType;
  for (const auto& [height, width] :
       {std::pair{1u, 1u}, std::pair{14u, 14u}, std::pair{3u, 7u}, std::pair{18u, 5u}}) {
    for (const std::size_t features : {4u, 12u, 256u}) {
      CAPTURE(height, width, features);
      const PositionEncoding<T> code(height, width, features);
      CHECK(code.height() == height);
      CHECK(code.width() == width);
      CHECK(differences(code.matrix(),
                        PositionEncodingReference::apply<T>(height, width, features)) == "");
    }
  }
}

TEST_CASE("The position code of a row is that of a column with x and y exchanged",
          "[transformer]") {
  const PositionEncoding<double> tall(6, 4, 16), wide(4, 6, 16);
  for (std::size_t y = 0; y < 6; ++y) {
    for (std::size_t x = 0; x < 4; ++x) {
      const double* const a = tall.matrix().row(y * 4 + x);
      const double* const b = wide.matrix().row(x * 6 + y);
      CHECK(std::equal(a, a + 8, b + 8));
      CHECK(std::equal(a + 8, a + 16, b));
    }
  }
}

TEST_CASE("Sine and cosine of a position code lie on the unit circle, and all tokens differ",
          "[transformer]") {
  const PositionEncoding<double> code(14, 14, 64);
  const Matrix<const double> tokens = code.matrix();
  for (std::size_t t = 0; t < tokens.rows; ++t) {
    for (std::size_t f = 0; f < 64; f += 2) {
      CHECK(std::hypot(tokens.row(t)[f], tokens.row(t)[f + 1]) == Approx(1.0).epsilon(1e-14));
    }
    for (std::size_t other = 0; other < t; ++other) {
      if (std::equal(tokens.row(t), tokens.row(t) + 64, tokens.row(other))) CHECK(t == other);
    }
  }
}

TEST_CASE("A position code needs a multiple of four features", "[transformer]") {
  for (const std::size_t features : {1u, 2u, 6u, 255u}) {
    const q2l::Error error = error_of([&] { PositionEncoding<float>(2, 2, features); });
    CHECK(error.code() == q2l::ErrorCode::bad_argument);
    CHECK(error.place().subject == "PositionEncoding");
  }
}

TEST_CASE("A position code that was not made has no tokens", "[transformer]") {
  CHECK(PositionEncoding<float>().matrix().rows == 0);
}
