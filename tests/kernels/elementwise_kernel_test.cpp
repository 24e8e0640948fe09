// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <query2label/kernels/elementwise_kernel.hpp>
#include <vector>

#include "reference/activation_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::simd::DefaultArch;

namespace {

template <class T>
std::vector<T> activated(Activation activation, std::vector<T> row) {
  q2l::kernels::activate_row<T, DefaultArch>(activation, row.data(), row.size());
  return row;
}

template <class T>
void check_activation(Activation activation, const std::vector<float>& values) {
  CAPTURE(static_cast<int>(activation.kind), activation.negative_slope, values.size());
  PoisonedMatrix<T> row(1, values.size(), values);
  q2l::kernels::activate_row<T, DefaultArch>(activation, row.view().data, values.size());
  CHECK(differences(row.view(),
                    ActivationReference::apply<T>(activation, {1, values.size(), values})) == "");
  CHECK(row.is_intact());
}

const Activation every_activation[] = {Activation::identity(),       Activation::relu(),
                                       Activation::leaky_relu(1e-2), Activation::leaky_relu(1e-3),
                                       Activation::gelu(),           Activation::quick_gelu()};

}  // namespace

TEMPLATE_TEST_CASE("Each activation is right on rows of any length", "[kernels]", float, double) {
  for (const Activation& activation : every_activation) {
    for (std::size_t count = 1; count <= 67; ++count) {
      check_activation<TestType>(activation,
                                 fill("x", count, 0.0, ActivationReference::domain.radius, count));
    }
    check_activation<TestType>(activation, fill("x", 20'000, 0.0, 8.0, 1));
    check_activation<TestType>(activation, fill("x", 20'000, 0.0, 0.01, 2));
    check_activation<TestType>(activation, fill("x", 1'000, 0.0, 1e30, 3));
  }
}

TEMPLATE_TEST_CASE("Activations of zero are zero and NaN is kept", "[kernels]", float, double) {
  using T = TestType;
  constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
  for (const Activation& activation : every_activation) {
    CAPTURE(static_cast<int>(activation.kind));
    for (const T out : activated<T>(activation, std::vector<T>(9, T(0)))) CHECK(out == T(0));
    for (const T out : activated<T>(activation, std::vector<T>(9, not_a_number))) {
      CHECK(std::isnan(out));
    }
  }
}

TEMPLATE_TEST_CASE("The leaky ReLU keeps its slope for exactly the numbers not above zero",
                   "[kernels]", float, double) {
  using T = TestType;
  CHECK(activated<T>(Activation::relu(), {T(-2), T(-1e-30), T(1e-30), T(2)}) ==
        std::vector<T>{T(0), T(0), T(1e-30), T(2)});
  CHECK(activated<T>(Activation::leaky_relu(0.25), {T(-2), T(-4), T(4)}) ==
        std::vector<T>{T(-0.5), T(-1), T(4)});
  constexpr T infinity = std::numeric_limits<T>::infinity();
  CHECK(activated<T>(Activation::relu(), {-infinity, infinity}) == std::vector<T>{T(0), infinity});
  CHECK(activated<T>(Activation::leaky_relu(0.25), {-infinity, infinity}) ==
        std::vector<T>{-infinity, infinity});
}

TEMPLATE_TEST_CASE("Rows of any length are added, in place too", "[kernels]", float, double) {
  using T = TestType;
  for (std::size_t count = 1; count <= 67; ++count) {
    CAPTURE(count);
    const PoisonedMatrix<T> a(1, count, fill("a", count, 0.0, 1.0, 1));
    const PoisonedMatrix<T> b(1, count, fill("b", count, 0.0, 1.0, 1), 3, 2);
    std::vector<T> expected;
    for (std::size_t i = 0; i < count; ++i) expected.push_back(a.values()[i] + b.values()[i]);
    PoisonedMatrix<T> out(1, count), in_place(1, count, a.values());
    q2l::kernels::add_row<T, DefaultArch>(a.view().data, b.view().data, out.view().data, count);
    q2l::kernels::add_row<T, DefaultArch>(in_place.view().data, b.view().data, in_place.view().data,
                                          count);
    CHECK(out.values() == expected);
    CHECK(in_place.values() == expected);
    CHECK(out.is_intact());
    CHECK(in_place.is_intact());
  }
}
