// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <query2label/simd/vector_math.hpp>

#include "reference/vector_math_reference.hpp"

using q2l::simd::DefaultArch;
using namespace q2l::test;

namespace {

/// The largest error of a function seen so far, in units in the last place.
template <class T, template <class> class Reference>
class WorstError {
  using Batch = q2l::simd::Batch<T, DefaultArch>;

 public:
  void measure(T x) {
    if (!(x >= Reference<T>::lowest && x <= Reference<T>::highest)) return;
    const T actual = Reference<T>::template tested<DefaultArch>(Batch(x)).get(0);
    const long double expected = Reference<T>::value(x);
    const T rounded = static_cast<T>(expected);
    const T magnitude = std::max(std::abs(rounded), std::numeric_limits<T>::min());
    const T next = std::nextafter(magnitude, std::numeric_limits<T>::infinity());
    const double error = static_cast<double>(std::abs(static_cast<long double>(actual) - expected) /
                                             static_cast<long double>(next - magnitude));
    if (error <= ulps) return;  // a NaN is not
    ulps = error;
    at = x;
  }

  double ulps = 0.0;
  T at = 0;
};

/// Every 1997th of all numbers, large and small, of both signs.
template <template <class> class Reference>
WorstError<float, Reference> sweep_bit_patterns() {
  WorstError<float, Reference> worst;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1997) {
    worst.measure(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  return worst;
}

/// `count` numbers evenly over [-radius, radius], and both ends.
template <class T, template <class> class Reference>
WorstError<T, Reference> sweep_evenly(T radius, int count) {
  WorstError<T, Reference> worst;
  for (int i = 0; i <= count; ++i) {
    worst.measure(radius * static_cast<T>(2 * i - count) / static_cast<T>(count));
  }
  worst.measure(Reference<T>::lowest);
  worst.measure(Reference<T>::highest);
  return worst;
}

template <class T, template <class> class Reference>
void check(const WorstError<T, Reference>& worst) {
  CAPTURE(worst.at);
  CHECK(worst.ulps <= Reference<T>::ulps);
  CHECK(worst.ulps > 0.4);  // else nothing was measured: no such function is exact
}

template <class T, template <class> class Reference>
T at(T x) {
  using Batch = q2l::simd::Batch<T, DefaultArch>;
  return Reference<T>::template tested<DefaultArch>(Batch(x)).get(0);
}

}  // namespace

TEST_CASE("The error of exp stays below its stated bound", "[simd]") {
  check(sweep_bit_patterns<ExpReference>());
  check(sweep_evenly<float, ExpReference>(90.0f, 400'000));
  check(sweep_evenly<double, ExpReference>(710.0, 200'000));
  check(sweep_evenly<double, ExpReference>(1.0, 100'000));
}

TEST_CASE("The error of sigmoid stays below its stated bound", "[simd]") {
  check(sweep_bit_patterns<SigmoidReference>());
  check(sweep_evenly<float, SigmoidReference>(80.0f, 400'000));
  check(sweep_evenly<double, SigmoidReference>(710.0, 100'000));
  check(sweep_evenly<double, SigmoidReference>(40.0, 200'000));
}

TEST_CASE("The error of erf stays below its stated bound", "[simd]") {
  check(sweep_bit_patterns<ErfReference>());
  check(sweep_evenly<float, ErfReference>(6.0f, 400'000));
  check(sweep_evenly<double, ErfReference>(6.0, 200'000));
  check(sweep_evenly<double, ErfReference>(1e-3, 50'000));
}

TEMPLATE_TEST_CASE("Vector functions keep NaN and reach their limits at infinity", "[simd]", float,
                   double) {
  using T = TestType;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
  CHECK(std::isnan(at<T, ExpReference>(not_a_number)));
  CHECK(std::isnan(at<T, SigmoidReference>(not_a_number)));
  CHECK(std::isnan(at<T, ErfReference>(not_a_number)));
  for (const T large : {T(1000), std::numeric_limits<T>::max(), infinity}) {
    CAPTURE(large);
    CHECK(at<T, ExpReference>(large) == infinity);
    CHECK(at<T, ExpReference>(-large) == T(0));
    CHECK(at<T, SigmoidReference>(large) == T(1));
    CHECK(at<T, SigmoidReference>(-large) == T(0));
    CHECK(at<T, ErfReference>(large) == T(1));
    CHECK(at<T, ErfReference>(-large) == T(-1));
  }
}

TEMPLATE_TEST_CASE("Vector functions are exact at zero and keep its sign", "[simd]", float,
                   double) {
  using T = TestType;
  CHECK(at<T, ExpReference>(T(0)) == T(1));
  CHECK(at<T, SigmoidReference>(T(0)) == T(0.5));
  CHECK(at<T, ErfReference>(T(0)) == T(0));
  CHECK(std::signbit(at<T, ErfReference>(T(-0.0))));
}
