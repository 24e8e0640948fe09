// SPDX-License-Identifier: MIT
#include "query2label/core/is_finite.hpp"

#include <catch2/catch.hpp>
#include <limits>

TEST_CASE("NaN and infinity are not finite, all else is", "[core]") {
  const auto check = []<class T>(T) {
    using Limits = std::numeric_limits<T>;
    for (const T value :
         {T(0), T(-0.0), T(1), Limits::max(), Limits::lowest(), Limits::denorm_min()})
      CHECK(q2l::is_finite(value));
    for (const T value : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(),
                          Limits::signaling_NaN(), -Limits::quiet_NaN()})
      CHECK_FALSE(q2l::is_finite(value));
  };
  check(float{});
  check(double{});
}
