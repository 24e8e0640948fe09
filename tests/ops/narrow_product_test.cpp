// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <query2label/core/crc32.hpp>
#include <query2label/ops/conv2d.hpp>
#include <query2label/ops/linear.hpp>
#include <span>
#include <string>
#include <vector>

#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

// Narrow products against the same operands rounded and multiplied in double.

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::Matrix;
using q2l::Precision;
using q2l::ProductSettings;
using q2l::Quantization;
using q2l::simd::DefaultArch;

namespace {

constexpr double epsilon = std::numeric_limits<float>::epsilon();

/// A power of two and inputs on quarter steps, so that float and double quantise alike, ties and
/// numbers beyond the range included.
const Quantization quantization{1.0f / 64, 96};

std::vector<float> inputs(std::size_t count, std::uint64_t seed) {
  std::vector<float> values = fill("in", count, 0.5, 3.0, seed);
  for (float& x : values) x = std::floor(x * 256) / 256;
  return values;
}

ProductSettings settings(Precision precision) { return {"layer", precision, quantization}; }

/// What one rounding of each product, each addition of a chain, and the scaling may come to beside
/// the rounded operands, whose magnitudes are at most 3.5 and 1 a term; in bf16 the processor may
/// round the left operand, which is 2^-8 of each term (quarter steps below 4 need 10 bits).
double bound(Precision precision, std::size_t depth) {
  const double magnitude = 3.5 * static_cast<double>(depth) + 2;
  const double terms = precision == Precision::int8 ? 4.0 + static_cast<double>(depth) / 256
                                                    : static_cast<double>(depth) + 4;
  double error = terms * epsilon * magnitude;
  if (precision == Precision::bf16) error += magnitude / 256;
  return error;
}

}  // namespace

TEST_CASE("Narrow linear layers of odd sizes multiply what they were given, rounded", "[ops]") {
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    for (const std::size_t rows : {1u, 5u, 6u, 13u, 31u}) {
      for (const std::size_t in : {4u, 12u, 64u, 132u, 1028u, 2052u}) {
        for (const std::size_t out : {1u, 8u, 15u, 33u, 70u}) {
          CAPTURE(to_string(precision), rows, in, out);
          const std::vector<float> weight = fill("weight", in * out, 0.0, 1.0, in + out);
          const std::vector<float> bias = fill("bias", out, 0.0, 1.0, out);
          const std::vector<float> values = inputs(rows * in, rows);
          const q2l::ops::Linear<float, DefaultArch> layer{in,   out, weight,
                                                           bias, {},  settings(precision)};
          const q2l::ops::Linear<double, DefaultArch> reference{
              in, out, values_of<double>(weight), values_of<double>(bias), {}, settings(precision)};
          REQUIRE(layer.weights.precision() == precision);
          const PoisonedMatrix<float> x(rows, in, values);
          const PoisonedMatrix<double> wide_x(rows, in, values);
          PoisonedMatrix<float> y(rows, out);
          PoisonedMatrix<double> expected(rows, out);
          run_planned([&](const Context& context) {
            q2l::ops::linear<float, DefaultArch>(context, layer, x.view(), y.view());
            q2l::ops::linear<double, DefaultArch>(context, reference, wide_x.view(),
                                                  expected.view());
          });
          CHECK(y.is_intact());
          double worst = 0;
          for (std::size_t i = 0; i < rows * out; ++i) {
            worst = std::max(worst,
                             std::abs(static_cast<double>(y.values()[i]) - expected.values()[i]));
          }
          CHECK(worst <= bound(precision, in));
        }
      }
    }
  }
}

TEST_CASE("A narrow layer adds a residual, its own output too, and activates", "[ops]") {
  const std::vector<float> weight = fill("weight", 64 * 35, 0.0, 1.0, 1);
  const std::vector<float> bias = fill("bias", 35, 0.0, 1.0, 2);
  const std::vector<float> residual_values = fill("residual", 13 * 35, 0.0, 5.0, 3);
  const PoisonedMatrix<float> x(13, 64, inputs(13 * 64, 4));
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    const q2l::ops::Linear<float, DefaultArch> layer{64, 35, weight, bias, {}, settings(precision)};
    PoisonedMatrix<float> plain(13, 35), out(13, 35), in_place(13, 35, residual_values);
    const PoisonedMatrix<float> residual(13, 35, residual_values);
    run_planned([&](const Context& context) {
      q2l::ops::linear<float, DefaultArch>(context, layer, x.view(), plain.view());
      q2l::ops::linear<float, DefaultArch>(context, layer, x.view(), out.view(),
                                           {Activation::relu(), residual.view()});
      if (context.is_planning()) return;
      q2l::ops::linear<float, DefaultArch>(context, layer, x.view(), in_place.view(),
                                           {Activation::relu(), in_place.view()});
    });
    for (std::size_t i = 0; i < out.values().size(); ++i) {
      REQUIRE(out.values()[i] == std::max(0.0f, plain.values()[i] + residual_values[i]));
    }
    CHECK(same_bits(out.values(), in_place.values()));
  }
}

TEST_CASE("Narrow convolutions take zeros at their border and a norm as the column's scale",
          "[ops]") {
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    for (const q2l::ops::Conv2dShape& shape :
         {q2l::ops::Conv2dShape{8, 20, 3, 2, 1}, {8, 20, 1, 2, 0}, {24, 17, 3, 1, 1}}) {
      CAPTURE(to_string(precision), shape.in_channels, shape.kernel, shape.stride);
      const std::size_t taps = shape.kernel * shape.kernel;
      const std::vector<float> weight =
          fill("weight", shape.out_channels * shape.in_channels * taps, 0.0, 1.0, 1);
      q2l::ops::ChannelAffine norm;
      for (std::size_t o = 0; o < shape.out_channels; ++o) {
        norm.scale.push_back(o % 3 == 0 ? -0.5 : 0.25 * static_cast<double>(o));
        norm.shift.push_back(static_cast<double>(o) - 3);
      }
      const std::vector<float> values = inputs(2 * 9 * 7 * shape.in_channels, 2);
      const q2l::ops::Conv2d<float, DefaultArch> layer(shape, weight, {}, norm, {},
                                                       settings(precision));
      const q2l::ops::Conv2d<double, DefaultArch> reference(shape, values_of<double>(weight), {},
                                                            norm, {}, settings(precision));
      const std::size_t height = shape.output(9), width = shape.output(7);
      const PoisonedMatrix<float> in(2 * 9 * 7, shape.in_channels, values);
      const PoisonedMatrix<double> wide_in(2 * 9 * 7, shape.in_channels, values);
      PoisonedMatrix<float> out(2 * height * width, shape.out_channels);
      PoisonedMatrix<double> expected(2 * height * width, shape.out_channels);
      run_planned([&](const Context& context) {
        q2l::ops::conv2d<float, DefaultArch>(context, layer, in.map(2, 9, 7),
                                             out.map(2, height, width));
        q2l::ops::conv2d<double, DefaultArch>(context, reference, wide_in.map(2, 9, 7),
                                              expected.map(2, height, width));
      });
      CHECK(out.is_intact());
      // Winograd's tiles, too, round transformed weights to bf16: 2^-8 of sums of up to 9 weights
      // with factors of at most 1, times transformed inputs of at most 4 pixels.
      const double tiles = layer.winograd.tile() > 0 ? 4 : 1;
      for (std::size_t i = 0; i < out.values().size(); ++i) {
        const double scale = std::abs(norm.scale[i % shape.out_channels]);
        REQUIRE(std::abs(static_cast<double>(out.values()[i]) - expected.values()[i]) <=
                tiles * scale * bound(precision, shape.in_channels * taps) + 32 * epsilon);
      }
    }
  }
}

TEST_CASE("Narrow layers give the same bits on any number of threads and for any batch", "[ops]") {
  const std::vector<float> weight = fill("weight", 1028 * 150, 0.0, 1.0, 1);
  const std::vector<float> values = inputs(90 * 1028, 2);
  const PoisonedMatrix<float> x(90, 1028, values);
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    const q2l::ops::Linear<float, DefaultArch> layer{1028, 150, weight,
                                                     {},   {},  settings(precision)};
    const std::vector<float> all =
        same_bits_on_any_workers<float>(90, 150, [&](const Context& context, Matrix<float> out) {
          q2l::ops::linear<float, DefaultArch>(context, layer, x.view(), out);
        });
    check_same_bits_alone(
        all, 3, 30, 150, [&](const Context& context, std::size_t n, Matrix<float> out) {
          q2l::ops::linear<float, DefaultArch>(context, layer, x.view().row_range(n * 30, 30), out);
        });
  }
}

TEST_CASE("int8 products have these bits on every instruction set", "[ops]") {
  const PoisonedMatrix<float> x(37, 1300, inputs(37 * 1300, 1));
  const std::vector<float> bias = fill("bias", 70, 0.0, 1.0, 2);
  const q2l::ops::Linear<float, DefaultArch> linear{
      1300, 70, fill("weight", 1300 * 70, 0.0, 1.0, 3), bias, {}, settings(Precision::int8)};
  const PoisonedMatrix<float> map(2 * 9 * 35, 76, inputs(2 * 9 * 35 * 76, 4));
  const q2l::ops::Conv2d<float, DefaultArch> convolution({76, 50, 3, 2, 1},
                                                         fill("kernel", 76 * 50 * 9, 0.0, 1.0, 5),
                                                         {}, {}, {}, settings(Precision::int8));
  PoisonedMatrix<float> y(37, 70), out(2 * 5 * 18, 50);
  run_planned([&](const Context& context) {
    q2l::ops::linear<float, DefaultArch>(context, linear, x.view(), y.view());
    q2l::ops::conv2d<float, DefaultArch>(context, convolution, map.map(2, 9, 35),
                                         out.map(2, 5, 18));
  });
  const auto checksum = [](const std::vector<float>& values) {
    return q2l::crc32(std::as_bytes(std::span(values)));
  };
  CHECK(checksum(y.values()) == 0x5A929FBAu);
  CHECK(checksum(out.values()) == 0xB3850197u);
}

TEST_CASE("int8 multiplies whole numbers: weights of 127 steps a side, inputs as calibrated",
          "[ops]") {
  constexpr std::size_t in = 132, out = 19, rows = 7;
  const std::vector<float> weight = fill("weight", in * out, 0.1, 1.0, 1);
  const std::vector<float> bias = fill("bias", out, 0.0, 1.0, 2);
  const std::vector<float> x = inputs(rows * in, 3);
  const q2l::ops::Linear<float, DefaultArch> layer{in,   out, weight,
                                                   bias, {},  settings(Precision::int8)};
  PoisonedMatrix<float> y(rows, out);
  run_planned([&](const Context& context) {
    q2l::ops::linear<float, DefaultArch>(context, layer, {x.data(), rows, in}, y.view());
  });
  for (std::size_t n = 0; n < out; ++n) {
    double largest = 0;
    for (std::size_t k = 0; k < in; ++k) {
      largest = std::max(largest, std::abs(static_cast<double>(weight[n * in + k])));
    }
    const double step = largest / 127;
    for (std::size_t m = 0; m < rows; ++m) {
      std::int64_t sum = 0;
      for (std::size_t k = 0; k < in; ++k) {
        const double input = std::nearbyint(static_cast<double>(x[m * in + k] * 64)) + 96;
        sum += (std::lrint(std::clamp(input, 0.0, 255.0)) - 96) *
               std::lrint(static_cast<double>(weight[n * in + k]) / step);
      }
      const double product = static_cast<double>(sum) * step / 64;
      const double expected = product + static_cast<double>(bias[n]);
      // The sum fits a float; its factor is rounded once, and so is the result.
      REQUIRE(std::abs(static_cast<double>(y.values()[m * out + n]) - expected) <=
              epsilon / 2 * (std::abs(product) + std::abs(expected)) * (1 + epsilon));
    }
  }
}

TEST_CASE("Products that cannot be narrow stay in f32", "[ops]") {
  using Weights = q2l::ops::PackedWeights<float, DefaultArch>;
  CHECK(Weights::precision_of({1, 27, 64}, Precision::bf16) == Precision::f32);
  CHECK(Weights::precision_of({7, 21, 64}, Precision::int8) == Precision::f32);
  CHECK(Weights::precision_of({1, 0, 8}, Precision::int8) == Precision::f32);
  CHECK(Weights::precision_of({1, 28, 64}, Precision::bf16) == Precision::bf16);
  CHECK(Weights::precision_of({1, 70'000, 8}, Precision::int8) == Precision::int8);
}

TEST_CASE("int8 sums of any depth and of the largest operands do not overflow", "[ops]") {
  // 255 * 127 * depth is beyond 2^31. All weights are 127 steps of 1/127, of either sign.
  constexpr std::size_t depth = 70'000;
  for (const float sign : {1.0f, -1.0f}) {
    for (const std::int32_t zero_point : {0, 255}) {
      CAPTURE(sign, zero_point);
      const std::vector<float> weight(depth, sign);
      const std::vector<float> in(depth, static_cast<float>(255 - 2 * zero_point));
      const q2l::ops::Linear<float, DefaultArch> layer{
          depth, 1, weight, {}, {}, {"", Precision::int8, Quantization{1.0f, zero_point}}};
      REQUIRE(layer.weights.precision() == Precision::int8);
      float out = 0;
      run_planned([&](const Context& context) {
        q2l::ops::linear<float, DefaultArch>(context, layer, {in.data(), 1, depth}, {&out, 1, 1});
      });
      // The step is rounded, and each of 69 chunks' sums, as it is scaled and added.
      const double expected = static_cast<double>(sign * in[0]) * static_cast<double>(depth);
      CHECK(std::abs(static_cast<double>(out) - expected) <= 70 * epsilon * std::abs(expected));
    }
  }
}
