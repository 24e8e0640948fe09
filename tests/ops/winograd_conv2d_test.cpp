// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <query2label/ops/conv2d.hpp>
#include <query2label/ops/winograd_conv2d.hpp>
#include <vector>

#include "reference/conv2d_reference.hpp"
#include "reference/winograd_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using WinogradConv2d = q2l::ops::WinogradConv2d<T, DefaultArch>;

/// A convolution by tiles and its input.
struct WinogradExample {
  std::size_t tile, in_channels, out_channels, batch, height, width;
  std::vector<float> weight = fill("weight", out_channels* in_channels * 9, 0.0, 1.0, 1);
  std::vector<float> bias = fill("bias", out_channels, 0.0, 1.0, 2);
  std::vector<float> in = fill("in", batch* height* width* in_channels, 0.0, 1.0, 3);
  std::vector<float> residual = fill("residual", batch* height* width* out_channels, 0.0, 3.0, 4);

  [[nodiscard]] std::size_t pixels() const { return batch * height * width; }

  template <class T>
  [[nodiscard]] WinogradConv2d<T> layer() const {
    return {
        tile, in_channels, out_channels, values_of<T>(weight), nullptr, values_of<double>(bias)};
  }

  /// What the transforms and the products of a tile may round, for every result: the bound stated
  /// with the kernels.
  template <class T>
  [[nodiscard]] std::vector<double> tile_errors() const {
    const WinogradReference reference(tile);
    const auto input = WinogradReference::absolute(reference.input);
    const auto output = WinogradReference::absolute(reference.output);
    const std::size_t side = tile + 2;
    const auto square = [](std::size_t n) {
      return WinogradReference::Matrix(n, std::vector<double>(n, 0.0));
    };
    std::vector<WinogradReference::Matrix> weights;
    for (std::size_t i = 0; i < out_channels * in_channels; ++i) {
      auto kernel = square(3);
      for (std::size_t t = 0; t < 9; ++t) {
        kernel[t / 3][t % 3] = static_cast<double>(weight[i * 9 + t]);
      }
      weights.push_back(
          WinogradReference::absolute(WinogradReference::both_sides(reference.weight, kernel)));
    }
    std::vector<double> errors(pixels() * out_channels);
    for (std::size_t n = 0; n < batch; ++n) {
      for (std::size_t y0 = 0; y0 < height; y0 += tile) {
        for (std::size_t x0 = 0; x0 < width; x0 += tile) {
          std::vector<WinogradReference::Matrix> inputs;
          for (std::size_t c = 0; c < in_channels; ++c) {
            auto patch = square(side);
            for (std::size_t i = 0; i < side * side; ++i) {
              const std::size_t y = y0 + i / side - 1, x = x0 + i % side - 1;  // may wrap
              if (y >= height || x >= width) continue;
              patch[i / side][i % side] = std::abs(
                  static_cast<double>(in[((n * height + y) * width + x) * in_channels + c]));
            }
            inputs.push_back(WinogradReference::both_sides(input, patch));
          }
          for (std::size_t o = 0; o < out_channels; ++o) {
            auto sums = square(side);
            for (std::size_t c = 0; c < in_channels; ++c) {
              for (std::size_t i = 0; i < side * side; ++i) {
                sums[i / side][i % side] += weights[o * in_channels + c][i / side][i % side] *
                                            inputs[c][i / side][i % side];
              }
            }
            const auto bound = WinogradReference::both_sides(output, sums);
            for (std::size_t i = 0; i < tile * tile; ++i) {
              const std::size_t y = y0 + i / tile, x = x0 + i % tile;
              if (y >= height || x >= width) continue;
              errors[((n * height + y) * width + x) * out_channels + o] =
                  static_cast<double>(in_channels + 13) * rounding<T> * bound[i / tile][i % tile];
            }
          }
        }
      }
    }
    return errors;
  }

  template <class T>
  [[nodiscard]] Estimate expected(bool has_residual = false, Activation activation = {}) const {
    Estimate out = Conv2dReference::apply<T>(
        {in_channels, out_channels, 3, 1, 1}, {pixels(), in_channels, in}, batch, height, width,
        {out_channels, in_channels * 9, weight}, {1, out_channels, bias}, {},
        has_residual ? Estimate(pixels(), out_channels, residual) : Estimate());
    const std::vector<double> errors = tile_errors<T>();
    for (std::size_t i = 0; i < errors.size(); ++i) {
      const double added = std::abs(static_cast<double>(bias[i % out_channels])) +
                           (has_residual ? std::abs(static_cast<double>(residual[i])) : 0.0);
      out.error[i] = errors[i] + 2.0 * rounding<T> * (std::abs(out.value[i]) + added);
    }
    return ActivationReference::apply<T>(activation, std::move(out));
  }
};

template <class T>
void convolve_winograd(const Context& context, const WinogradExample& example,
                       const WinogradConv2d<T>& layer, const PoisonedMatrix<T>& in, Matrix<T> out,
                       const q2l::ops::OutputOptions<T>& options = {}) {
  q2l::ops::winograd_conv2d<T, DefaultArch>(
      context, layer, in.map(example.batch, example.height, example.width),
      {out.data, example.batch, example.height, example.width, out.columns, out.stride}, options);
}

template <class T>
void check_winograd(const WinogradExample& example) {
  CAPTURE(example.tile, example.in_channels, example.out_channels, example.batch, example.height,
          example.width);
  const WinogradConv2d<T> layer = example.layer<T>();
  const PoisonedMatrix<T> in(example.pixels(), example.in_channels, example.in);
  PoisonedMatrix<T> out(example.pixels(), example.out_channels);
  run_planned([&](const Context& context) {
    convolve_winograd<T>(context, example, layer, in, out.view());
  });
  CHECK(differences(out.view(), example.expected<T>()) == "");
  CHECK(out.is_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("A convolution by tiles is right for any map down to one pixel", "[ops]", float,
                   double) {
  for (const std::size_t tile : {2u, 4u}) {
    for (std::size_t height = 1; height <= 9; ++height) {
      for (std::size_t width = 1; width <= 9; ++width) {
        check_winograd<TestType>({tile, 9, 5, 2, height, width});
      }
    }
  }
}

TEMPLATE_TEST_CASE("A convolution by tiles is right for any number of channels", "[ops]", float,
                   double) {
  for (const std::size_t tile : {2u, 4u}) {
    for (std::size_t channels = 1; channels <= 35; ++channels) {
      check_winograd<TestType>({tile, channels, 36 - channels, 1, 5, 6});
    }
    check_winograd<TestType>({tile, 300, 3, 1, 6, 5});  // more than a chunk of depth
    check_winograd<TestType>({tile, 3, 600, 1, 6, 5});  // all threads on one block
  }
}

TEMPLATE_TEST_CASE("A convolution by tiles adds a residual before its activation", "[ops]", float,
                   double) {
  using T = TestType;
  for (const std::size_t tile : {2u, 4u}) {
    const WinogradExample example{tile, 20, 23, 2, 5, 7};
    const WinogradConv2d<T> layer = example.layer<T>();
    const PoisonedMatrix<T> in(example.pixels(), 20, example.in);
    const PoisonedMatrix<T> residual(example.pixels(), 23, example.residual, 4, 2);
    for (const Activation& activation :
         {Activation::relu(), Activation::leaky_relu(1e-3), Activation::gelu()}) {
      PoisonedMatrix<T> out(example.pixels(), 23), in_place(example.pixels(), 23, example.residual);
      run_planned([&](const Context& context) {
        convolve_winograd<T>(context, example, layer, in, out.view(),
                             {activation, residual.view()});
        convolve_winograd<T>(context, example, layer, in, in_place.view(),
                             {activation, in_place.view()});
      });
      CHECK(differences(out.view(), example.expected<T>(true, activation)) == "");
      CHECK(same_bits(in_place.values(), out.values()));
      CHECK(out.is_intact());
    }
  }
}

TEST_CASE("A convolution by tiles gives the same bits on any number of threads and for any batch",
          "[ops]") {
  for (const std::size_t tile : {2u, 4u}) {
    for (const std::size_t channels : {40u, 600u}) {  // blocks of one thread and of all
      const WinogradExample example{tile, channels, 72, 3, 23, 18};
      CAPTURE(tile, channels);
      const WinogradConv2d<float> layer = example.layer<float>();
      const PoisonedMatrix<float> in(example.pixels(), channels, example.in);
      const std::vector<float> all = same_bits_on_any_workers<float>(
          example.pixels(), 72, [&](const Context& context, Matrix<float> out) {
            convolve_winograd<float>(context, example, layer, in, out);
          });
      check_same_bits_alone(
          all, 3, 23 * 18, 72, [&](const Context& context, std::size_t n, Matrix<float> out) {
            q2l::ops::winograd_conv2d<float, DefaultArch>(
                context, layer, in.map(3, 23, 18).image(n), {out.data, 1, 23, 18, 72, out.stride});
          });
    }
  }
}

TEST_CASE("A convolution by tiles of an empty batch does nothing", "[ops]") {
  const WinogradExample example{4, 16, 16, 0, 4, 4};
  const WinogradConv2d<float> layer = example.layer<float>();
  const PoisonedMatrix<float> in(0, 16);
  PoisonedMatrix<float> out(0, 16);
  run_planned([&](const Context& context) {
    convolve_winograd<float>(context, example, layer, in, out.view());
  });
  CHECK(out.is_intact());
}

TEST_CASE("Tiles are chosen for 3x3 convolutions of stride 1 with channels enough", "[ops]") {
  const auto tile = [](const q2l::ops::Conv2dShape& shape) {
    const std::vector<float> weight(shape.out_channels * shape.in_channels * shape.kernel *
                                    shape.kernel);
    const q2l::ops::Conv2d<float, DefaultArch> layer(shape, weight, {});
    CHECK(layer.winograd.tile() == layer.winograd_tile(q2l::Precision::f32));
    CHECK(layer.weights.empty() == (layer.winograd_tile(q2l::Precision::f32) > 0));
    return layer.winograd_tile(q2l::Precision::f32);
  };
  CHECK(tile({64, 64, 3, 1, 1}) == 4);
  CHECK(tile({16, 16, 3, 1, 1}) == 4);
  CHECK(tile({15, 64, 3, 1, 1}) == 0);
  CHECK(tile({64, 15, 3, 1, 1}) == 0);
  CHECK(tile({64, 64, 3, 2, 1}) == 0);
  CHECK(tile({64, 64, 3, 1, 0}) == 0);
  CHECK(tile({64, 64, 1, 1, 0}) == 0);
  CHECK(tile({64, 64, 5, 1, 1}) == 0);
}

TEST_CASE("A convolution by tiles refuses operands that do not fit", "[ops]") {
  const WinogradExample example{4, 3, 2, 1, 4, 5};
  const WinogradConv2d<float> layer = example.layer<float>();
  std::vector<float> storage(1000);
  const auto map = [&](std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    return FeatureMap<float>(storage.data(), n, h, w, c);
  };
  const auto call = [&](FeatureMap<const float> in, FeatureMap<float> out,
                        Matrix<const float> residual = {}) {
    return [=, &layer](const Context& context) {
      q2l::ops::winograd_conv2d<float, DefaultArch>(context, layer, in, out, {{}, residual});
    };
  };
  check_bad_argument("winograd_conv2d: channels of in", call(map(1, 4, 5, 2), map(1, 4, 5, 2)));
  check_bad_argument("winograd_conv2d: channels of out", call(map(1, 4, 5, 3), map(1, 4, 5, 3)));
  check_bad_argument("winograd_conv2d: batch of out", call(map(1, 4, 5, 3), map(2, 4, 5, 2)));
  check_bad_argument("winograd_conv2d: height of out", call(map(1, 4, 5, 3), map(1, 5, 5, 2)));
  check_bad_argument("winograd_conv2d: width of out", call(map(1, 4, 5, 3), map(1, 4, 4, 2)));
  check_bad_argument("winograd_conv2d: rows of residual",
                     call(map(1, 4, 5, 3), map(1, 4, 5, 2), {storage.data(), 19, 2}));
  check_bad_argument("winograd_conv2d: columns of residual",
                     call(map(1, 4, 5, 3), map(1, 4, 5, 2), {storage.data(), 20, 3}));
}
