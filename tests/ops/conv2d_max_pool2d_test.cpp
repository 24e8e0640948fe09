// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/conv2d_max_pool2d.hpp>
#include <vector>

#include "support/counting_observer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::Precision;
using q2l::ops::Conv2dShape;
using q2l::ops::Pool2dShape;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using Conv2d = q2l::ops::Conv2d<T, DefaultArch>;

/// A stem and its pictures.
struct Stem {
  Conv2dShape shape;
  Pool2dShape pool;
  std::size_t batch, height, width;
  std::vector<float> weight = fill(
      "weight", shape.out_channels* shape.in_channels* shape.kernel* shape.kernel, 0.0, 1.0, 1);
  std::vector<float> bias = fill("bias", shape.out_channels, 0.0, 1.0, 2);
  std::vector<float> in = fill("in", batch* height* width* shape.in_channels, 0.0, 1.0, 3);

  [[nodiscard]] std::size_t out_height() const { return pool.output(shape.output(height)); }
  [[nodiscard]] std::size_t out_width() const { return pool.output(shape.output(width)); }

  template <class T>
  [[nodiscard]] Conv2d<T> layer(Precision precision = Precision::f32) const {
    return {shape, values_of<T>(weight), values_of<T>(bias), {}, {}, {{}, precision, {}}};
  }
  template <class T>
  [[nodiscard]] FeatureMap<T> map(Matrix<T> out, std::size_t images) const {
    return {out.data, images, out_height(), out_width(), shape.out_channels, out.stride};
  }
};

/// The two ops one after the other.
template <class T>
std::vector<T> apart(const Stem& stem, const Conv2d<T>& layer, const PoisonedMatrix<T>& in) {
  const Conv2dShape& s = stem.shape;
  PoisonedMatrix<T> between(stem.batch * s.output(stem.height) * s.output(stem.width),
                            s.out_channels);
  const FeatureMap<T> map = between.map(stem.batch, s.output(stem.height), s.output(stem.width));
  PoisonedMatrix<T> out(stem.batch * stem.out_height() * stem.out_width(), s.out_channels);
  run_planned([&](const Context& context) {
    q2l::ops::conv2d<T, DefaultArch>(context, layer, in.map(stem.batch, stem.height, stem.width),
                                     map, {.activation = Activation::relu()});
    q2l::ops::max_pool2d<T, DefaultArch>(context, stem.pool, map, stem.map(out.view(), stem.batch));
  });
  return out.values();
}

template <class T>
void check_stem(const Stem& stem, Precision precision = Precision::f32) {
  CAPTURE(stem.shape.kernel, stem.shape.stride, stem.shape.padding, stem.pool.kernel,
          stem.pool.stride, stem.pool.padding, stem.height, stem.width);
  const Conv2d<T> layer = stem.layer<T>(precision);
  const PoisonedMatrix<T> in(stem.batch * stem.height * stem.width, stem.shape.in_channels,
                             stem.in);
  const std::size_t rows = stem.out_height() * stem.out_width();
  const std::vector<T> together = same_bits_on_any_workers<T>(
      stem.batch * rows, stem.shape.out_channels, [&](const Context& context, Matrix<T> out) {
        q2l::ops::conv2d_max_pool2d<T, DefaultArch>(context, layer, Activation::relu(), stem.pool,
                                                    in.map(stem.batch, stem.height, stem.width),
                                                    stem.map(out, stem.batch));
      });
  CHECK(same_bits(together, apart(stem, layer, in)));
  check_same_bits_alone(together, stem.batch, rows, stem.shape.out_channels,
                        [&](const Context& context, std::size_t n, Matrix<T> out) {
                          q2l::ops::conv2d_max_pool2d<T, DefaultArch>(
                              context, layer, Activation::relu(), stem.pool,
                              in.map(stem.batch, stem.height, stem.width).image(n),
                              stem.map(out, 1));
                        });
}

}  // namespace

TEMPLATE_TEST_CASE("A stem has the bits of its convolution and pooling", "[ops]", float, double) {
  check_stem<TestType>({{3, 64, 7, 2, 3}, {3, 2, 1}, 2, 67, 53});  // strips on several threads
  for (const Pool2dShape& pool : {Pool2dShape{3, 2, 1}, Pool2dShape{2, 2, 0}, Pool2dShape{3, 1, 1},
                                  Pool2dShape{1, 2, 0}, Pool2dShape{2, 3, 0}}) {
    for (std::size_t side = 7; side <= 24; ++side) {
      check_stem<TestType>({{3, 5, 7, 2, 3}, pool, 2, side, 31 - side});
      check_stem<TestType>({{2, 9, 3, 1, 0}, pool, 1, side, 9});
    }
  }
}

TEST_CASE("A stem that cannot be fused has the bits of its two ops as well", "[ops]") {
  check_stem<float>({{16, 5, 7, 2, 3}, {3, 2, 1}, 2, 21, 18});  // taps are positions
  check_stem<float>({{20, 5, 3, 1, 1}, {3, 2, 1}, 2, 21, 18});  // perhaps Winograd
  check_stem<float>({{4, 5, 7, 2, 3}, {3, 2, 1}, 2, 21, 18}, Precision::bf16);  // narrow
}

TEST_CASE("An observer sees the whole map of a stem's convolution", "[ops]") {
  const Stem stem{{3, 8, 7, 2, 3}, {3, 2, 1}, 1, 30, 22};
  const Conv2d<float> layer = stem.layer<float>();
  const PoisonedMatrix<float> in(30 * 22, 3, stem.in);
  PoisonedMatrix<float> out(stem.out_height() * stem.out_width(), 8);
  CountingObserver counter;
  run_planned([&](const Context& context) {
    q2l::ops::conv2d_max_pool2d<float, DefaultArch>(
        {context.runner, 1, context.workspace, &counter}, layer, Activation::relu(), stem.pool,
        in.map(1, 30, 22), stem.map(out.view(), 1));
  });
  CHECK(counter.layers == 1);
  CHECK(counter.rows == 15 * 11);
  CHECK(same_bits(out.values(), apart(stem, layer, in)));
}

TEST_CASE("A stem refuses operands that do not fit", "[ops]") {
  const Conv2d<float> layer = Stem{{3, 4, 7, 2, 3}, {3, 2, 1}, 1, 8, 8}.layer<float>();
  std::vector<float> storage(4000);
  const auto call = [&](std::size_t channels, FeatureMap<float> out) {
    return [&layer, &storage, channels, out](const Context& context) {
      q2l::ops::conv2d_max_pool2d<float, DefaultArch>(context, layer, Activation::relu(), {3, 2, 1},
                                                      {storage.data(), 1, 8, 8, channels}, out);
    };
  };
  const auto map = [&](std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    return FeatureMap<float>(storage.data(), n, h, w, c);
  };
  check_bad_argument("conv2d: channels of in", call(2, map(1, 2, 2, 4)));
  check_bad_argument("max_pool2d: batch of out", call(3, map(2, 2, 2, 4)));
  check_bad_argument("max_pool2d: channels of out", call(3, map(1, 2, 2, 5)));
  check_bad_argument("max_pool2d: height of out", call(3, map(1, 3, 2, 4)));
  check_bad_argument("max_pool2d: width of out", call(3, map(1, 2, 3, 4)));
}
