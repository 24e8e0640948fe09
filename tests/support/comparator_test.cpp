// SPDX-License-Identifier: MIT
#include "support/comparator.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

using namespace q2l::test;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::string compare(std::vector<float> actual, const std::vector<double>& expected, double error) {
  Estimate estimate(1, expected.size(), expected);
  for (double& e : estimate.error) e = error;
  return differences(q2l::Matrix<const float>(actual.data(), 1, actual.size()), estimate);
}

}  // namespace

TEST_CASE("Numbers are close up to and including the error, on both sides of zero", "[support]") {
  for (const double sign : {1.0, -1.0}) {
    CHECK(is_close(sign * 1.0, sign * 1.0, 0.0));
    CHECK(is_close(sign * 1.25, sign * 1.0, 0.25));
    CHECK(is_close(sign * 0.75, sign * 1.0, 0.25));
    CHECK_FALSE(is_close(sign * 1.26, sign * 1.0, 0.25));
    CHECK_FALSE(is_close(sign * 0.74, sign * 1.0, 0.25));
    CHECK_FALSE(is_close(sign * 1e30, sign * 1.0, 0.25));
    CHECK_FALSE(is_close(sign * 1.0, sign * 1e30, 0.25));
  }
}

TEST_CASE("A wrong sign is a difference, but for values within the error of zero", "[support]") {
  CHECK_FALSE(is_close(-1.0, 1.0, 0.25));
  CHECK_FALSE(is_close(1.0, -1.0, 0.25));
  CHECK(is_close(-0.0, 0.0, 0.0));
  CHECK(is_close(-0.1, 0.1, 0.25));
}

TEST_CASE("NaN and infinity are close only to themselves", "[support]") {
  CHECK(is_close(not_a_number, not_a_number, 0.0));
  CHECK(is_close(infinity, infinity, 0.0));
  CHECK(is_close(-infinity, -infinity, 1.0));
  for (const double number : {0.0, 1.0, -1e300}) {
    CHECK_FALSE(is_close(not_a_number, number, 1e300));
    CHECK_FALSE(is_close(number, not_a_number, 1e300));
    CHECK_FALSE(is_close(infinity, number, 1e300));
    CHECK_FALSE(is_close(number, -infinity, 1e300));
  }
  CHECK_FALSE(is_close(infinity, -infinity, 1e300));
  CHECK_FALSE(is_close(not_a_number, infinity, 1e300));
  CHECK_FALSE(is_close(infinity, not_a_number, 1e300));
}

TEST_CASE("An error that is NaN, infinite or negative admits nothing", "[support]") {
  for (const double error : {not_a_number, infinity, -infinity, -1.0})
    CHECK_FALSE(is_close(1.0, 1.0, error));
}

TEST_CASE("Differences are counted over all elements and the first one is shown", "[support]") {
  CHECK(compare({1.0f, -2.0f, 3.0f}, {1.0, -2.0, 3.0}, 0.0).empty());
  CHECK(compare({}, {}, 0.0).empty());
  CHECK(compare({1.0f, -2.5f, 3.0f}, {1.0, -2.0, 3.0}, 0.25) ==
        "element (0, 1) is -2.5, expected -2 within 0.25");
  CHECK(compare({4.0f, -2.0f, static_cast<float>(not_a_number)}, {1.0, -2.0, 3.0}, 0.25) ==
        "element (0, 0) is 4, expected 1 within 0.25 (and 1 more)");
  CHECK(compare({1.0f}, {1.0, 2.0}, 9.0) == "shape [1, 1], expected [1, 2]");
}

TEST_CASE("Differences follow the stride of a matrix", "[support]") {
  const std::vector<double> storage = {1, 2, not_a_number, 3, 4, not_a_number};
  const q2l::Matrix<const double> actual(storage.data(), 2, 2, 3);
  CHECK(differences(actual, Estimate(2, 2, std::vector<double>{1, 2, 3, 4})).empty());
  CHECK_FALSE(differences(actual, Estimate(2, 2, std::vector<double>{1, 2, 3, 5})).empty());
}

TEST_CASE("Equal bits tell zero from minus zero and keep NaN equal to itself", "[support]") {
  CHECK(same_bits<float>({1.0f, static_cast<float>(not_a_number)},
                         {1.0f, static_cast<float>(not_a_number)}));
  CHECK_FALSE(same_bits<float>({0.0f}, {-0.0f}));
  CHECK_FALSE(same_bits<float>({1.0f}, {1.0f, 1.0f}));
  CHECK(same_bits<float>({}, {}));
}
