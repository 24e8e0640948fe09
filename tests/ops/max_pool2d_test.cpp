// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <query2label/ops/max_pool2d.hpp>
#include <vector>

#include "reference/max_pool2d_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::ops::Pool2dShape;
using q2l::simd::DefaultArch;

namespace {

constexpr q2l::test::Domain domain = MaxPool2dReference::domain;

template <class T>
void check_max_pool2d(const Pool2dShape& shape, std::size_t height, std::size_t width,
                      std::size_t channels) {
  CAPTURE(shape.kernel, shape.stride, shape.padding, height, width, channels);
  const std::vector<float> values =
      fill("in", 2 * height * width * channels, domain.center, domain.radius, channels);
  const PoisonedMatrix<T> in(2 * height * width, channels, values);
  const std::size_t out_height = shape.output(height), out_width = shape.output(width);
  PoisonedMatrix<T> out(2 * out_height * out_width, channels);
  run_planned([&](const Context& context) {
    q2l::ops::max_pool2d<T, DefaultArch>(context, shape, in.map(2, height, width),
                                         out.map(2, out_height, out_width));
  });
  CHECK(differences(out.view(),
                    MaxPool2dReference::apply(shape, {2 * height * width, channels, values}, 2,
                                              height, width)) == "");
  CHECK(out.is_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("Max pooling takes the largest of each window and never the padding", "[ops]",
                   float, double) {
  for (std::size_t channels = 1; channels <= 67; ++channels)
    check_max_pool2d<TestType>({3, 2, 1}, 5, 7, channels);
  for (const Pool2dShape& shape :
       {Pool2dShape{3, 2, 1}, Pool2dShape{2, 2, 0}, Pool2dShape{3, 1, 1}, Pool2dShape{2, 1, 1},
        Pool2dShape{5, 3, 2}, Pool2dShape{1, 2, 0}}) {
    for (std::size_t height = shape.kernel; height <= 8; ++height) {
      for (std::size_t width = shape.kernel; width <= 8; ++width) {
        check_max_pool2d<TestType>(shape, height, width, 9);
      }
    }
  }
  check_max_pool2d<TestType>({3, 2, 1}, 1, 1, 5);  // a map smaller than the kernel
}

TEMPLATE_TEST_CASE("Max pooling gives NaN where a window holds one", "[ops]", float, double) {
  using T = TestType;
  constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
  for (std::size_t place = 0; place < 9; ++place) {
    CAPTURE(place);
    std::vector<T> in(9 * 11, T(-1)), out(11);
    for (std::size_t c = 0; c < 11; ++c) in[place * 11 + c] = c == 10 ? T(2) : not_a_number;
    run_planned([&](const Context& context) {
      q2l::ops::max_pool2d<T, DefaultArch>(context, {3, 3, 0}, {in.data(), 1, 3, 3, 11},
                                           {out.data(), 1, 1, 1, 11});
    });
    for (std::size_t c = 0; c < 10; ++c) CHECK(std::isnan(out[c]));
    CHECK(out[10] == T(2));
  }
}

TEST_CASE("Max pooling gives the same bits on any number of threads and for any batch", "[ops]") {
  const Pool2dShape shape{3, 2, 1};
  const PoisonedMatrix<float> in(4 * 19 * 21, 13, fill("in", 4 * 19 * 21 * 13, -5.0, 1.0, 1));
  const std::vector<float> all = same_bits_on_any_workers<float>(
      4 * 10 * 11, 13, [&](const Context& context, Matrix<float> out) {
        q2l::ops::max_pool2d<float, DefaultArch>(context, shape, in.map(4, 19, 21),
                                                 {out.data, 4, 10, 11, 13, out.stride});
      });
  check_same_bits_alone(
      all, 4, 10 * 11, 13, [&](const Context& context, std::size_t n, Matrix<float> out) {
        q2l::ops::max_pool2d<float, DefaultArch>(context, shape, in.map(4, 19, 21).image(n),
                                                 {out.data, 1, 10, 11, 13, out.stride});
      });
}

TEST_CASE("Max pooling refuses operands that do not fit", "[ops]") {
  std::vector<float> storage(1000);
  const auto map = [&](std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    return FeatureMap<float>(storage.data(), n, h, w, c);
  };
  const auto call = [](Pool2dShape shape, FeatureMap<const float> in, FeatureMap<float> out) {
    return [=](const Context& context) {
      q2l::ops::max_pool2d<float, DefaultArch>(context, shape, in, out);
    };
  };
  const Pool2dShape shape{3, 2, 1};
  check_bad_argument("max_pool2d", call({3, 2, 2}, map(1, 4, 6, 2), map(1, 3, 4, 2)));
  for (const Pool2dShape& empty : {Pool2dShape{3, 0, 1}, Pool2dShape{0, 2, 0}}) {
    check_bad_argument("max_pool2d", call(empty, map(1, 4, 6, 2), map(1, 0, 0, 2)));
    CHECK(empty.output(4) == 0);
  }
  check_bad_argument("max_pool2d: height of out",
                     call({2, 2, 1}, map(1, 0, 6, 2), map(1, 1, 4, 2)));
  check_bad_argument("max_pool2d: width of out", call({2, 2, 1}, map(1, 4, 0, 2), map(1, 3, 1, 2)));
  check_bad_argument("max_pool2d: batch of out", call(shape, map(1, 4, 6, 2), map(2, 2, 3, 2)));
  check_bad_argument("max_pool2d: channels of out", call(shape, map(1, 4, 6, 2), map(1, 2, 3, 3)));
  check_bad_argument("max_pool2d: height of out", call(shape, map(1, 4, 6, 2), map(1, 4, 3, 2)));
  check_bad_argument("max_pool2d: width of out", call(shape, map(1, 4, 6, 2), map(1, 2, 6, 2)));
}
