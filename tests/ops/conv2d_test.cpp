// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/conv2d.hpp>
#include <vector>

#include "reference/conv2d_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::ChannelAffine;
using q2l::ops::Conv2dShape;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using Conv2d = q2l::ops::Conv2d<T, DefaultArch>;

/// A convolution and its input.
struct Conv2dExample {
  Conv2dShape shape;
  std::size_t batch, height, width;
  bool has_bias = false;
  ChannelAffine norm = {};
  std::vector<float> weight = fill(
      "weight", shape.out_channels* shape.in_channels* shape.kernel* shape.kernel, 0.0, 1.0, 1);
  std::vector<float> bias = fill("bias", has_bias ? shape.out_channels : 0, 0.0, 1.0, 2);
  std::vector<float> in = fill("in", batch* height* width* shape.in_channels, 0.0, 1.0, 3);

  [[nodiscard]] std::size_t pixels() const {
    return batch * shape.output(height) * shape.output(width);
  }
  template <class T>
  [[nodiscard]] Conv2d<T> layer() const {
    return {shape, values_of<T>(weight), values_of<T>(bias), norm};
  }
  template <class T>
  [[nodiscard]] PoisonedMatrix<T> input() const {
    return {batch * height * width, shape.in_channels, in};
  }
  template <class T>
  [[nodiscard]] Estimate expected(const Estimate& residual = {}, Activation activation = {}) const {
    return Conv2dReference::apply<T>(
        shape, {batch * height * width, shape.in_channels, in}, batch, height, width,
        {shape.out_channels, weight.size() / shape.out_channels, weight},
        has_bias ? Estimate(1, shape.out_channels, bias) : Estimate(), norm, residual, activation);
  }
};

template <class T>
void convolve(const Context& context, const Conv2dExample& example, const Conv2d<T>& layer,
              const PoisonedMatrix<T>& in, Matrix<T> out,
              const q2l::ops::OutputOptions<T>& options = {}) {
  const Conv2dShape& shape = example.shape;
  q2l::ops::conv2d<T, DefaultArch>(context, layer,
                                   in.map(example.batch, example.height, example.width),
                                   {out.data, example.batch, shape.output(example.height),
                                    shape.output(example.width), out.columns, out.stride},
                                   options);
}

template <class T>
void check_conv2d(const Conv2dExample& example) {
  const Conv2dShape& s = example.shape;
  CAPTURE(s.in_channels, s.out_channels, s.kernel, s.stride, s.padding, example.height,
          example.width, example.batch);
  const Conv2d<T> layer = example.layer<T>();
  const PoisonedMatrix<T> in = example.input<T>();
  PoisonedMatrix<T> out(example.pixels(), s.out_channels);
  run_planned(
      [&](const Context& context) { convolve<T>(context, example, layer, in, out.view()); });
  CHECK(differences(out.view(), example.expected<T>()) == "");
  CHECK(out.is_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("A convolution of any kernel, stride and padding is right", "[ops]", float,
                   double) {
  for (const std::size_t kernel : {1u, 3u, 5u, 7u}) {
    for (const std::size_t stride : {1u, 2u, 4u}) {
      for (std::size_t padding = 0; padding <= 3; ++padding) {
        // 3 and 15 channels: a tap is a kernel row; 16 and 21: a kernel position
        for (const std::size_t channels : {3u, 15u, 16u, 21u}) {
          check_conv2d<TestType>({{channels, 5, kernel, stride, padding}, 2, 9, 7});
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("A convolution of any number of channels is right", "[ops]", float, double) {
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    check_conv2d<TestType>({{channels, 68 - channels, 3, 1, 1}, 1, 3, 5});
    check_conv2d<TestType>({{channels, 9, 1, 1, 0}, 1, 3, 5});
  }
}

TEMPLATE_TEST_CASE("A convolution of odd maps is right down to one pixel", "[ops]", float, double) {
  for (const std::size_t channels : {3u, 19u}) {
    for (std::size_t height = 1; height <= 8; ++height) {
      for (std::size_t width = 1; width <= 8; ++width) {
        check_conv2d<TestType>({{channels, 17, 3, 2, 1}, 2, height, width});
      }
    }
    check_conv2d<TestType>({{channels, 4, 7, 2, 3}, 1, 1, 1});
    check_conv2d<TestType>({{channels, 4, 8, 8, 0}, 1, 16, 8});
  }
}

TEMPLATE_TEST_CASE("A convolution of a large kernel is right", "[ops]", float, double) {
  check_conv2d<TestType>({{3, 24, 4, 4, 0}, 1, 12, 8});    // Swin's patches
  check_conv2d<TestType>({{2, 5, 16, 16, 0}, 1, 33, 32});  // a vision transformer's
  check_conv2d<TestType>({{16, 3, 33, 1, 0}, 1, 34, 34});  // more positions than one chunk of depth
}

TEMPLATE_TEST_CASE("A convolution folds the normalisation behind it", "[ops]", float, double) {
  using T = TestType;
  const ChannelAffine norm{{2.0, -0.5, 0.0, 1e-3, 7.0}, {0.25, -1.0, 3.0, 0.0, -2.0}};
  for (const bool has_bias : {false, true}) {
    check_conv2d<T>({{3, 5, 3, 1, 1}, 1, 4, 5, has_bias, norm});
    check_conv2d<T>({{17, 5, 3, 1, 1}, 1, 4, 5, has_bias, norm});
    check_conv2d<T>({{17, 5, 1, 1, 0}, 1, 4, 5, has_bias, norm});
  }
}

TEMPLATE_TEST_CASE("A convolution adds a residual before its activation", "[ops]", float, double) {
  using T = TestType;
  for (const std::size_t channels : {3u, 20u}) {
    const Conv2dExample example{{channels, 23, 3, 1, 1}, 2, 5, 7, true};
    const Conv2d<T> layer = example.layer<T>();
    const PoisonedMatrix<T> in = example.input<T>();
    const std::vector<float> residual_values = fill("residual", 70 * 23, 0.0, 3.0, 4);
    const PoisonedMatrix<T> residual(70, 23, residual_values, 4, 2);
    for (const Activation& activation : {Activation::relu(), Activation::leaky_relu(1e-3)}) {
      PoisonedMatrix<T> out(70, 23), in_place(70, 23, residual_values);
      run_planned([&](const Context& context) {
        convolve<T>(context, example, layer, in, out.view(), {activation, residual.view()});
        convolve<T>(context, example, layer, in, in_place.view(), {activation, in_place.view()});
      });
      CHECK(differences(out.view(), example.expected<T>({70, 23, residual_values}, activation)) ==
            "");
      CHECK(same_bits(in_place.values(), out.values()));
      CHECK(out.is_intact());
    }
  }
}

TEST_CASE("A convolution gives the same bits on any number of threads and for any batch", "[ops]") {
  for (const std::size_t channels : {3u, 40u}) {
    const Conv2dExample example{{channels, 72, 3, 2, 1}, 4, 41, 39, true};
    const Conv2d<float> layer = example.layer<float>();
    const PoisonedMatrix<float> in = example.input<float>();
    const std::vector<float> all = same_bits_on_any_workers<float>(
        example.pixels(), 72, [&](const Context& context, Matrix<float> out) {
          convolve<float>(context, example, layer, in, out);
        });
    check_same_bits_alone(
        all, 4, 21 * 20, 72, [&](const Context& context, std::size_t n, Matrix<float> out) {
          q2l::ops::conv2d<float, DefaultArch>(context, layer, in.map(4, 41, 39).image(n),
                                               {out.data, 1, 21, 20, 72, out.stride});
        });
  }
}

TEST_CASE("The size of a convolution's output is zero where its kernel does not fit", "[ops]") {
  CHECK(Conv2dShape{1, 1, 3, 1, 0}.output(2) == 0);
  CHECK(Conv2dShape{1, 1, 3, 1, 0}.output(3) == 1);
  CHECK(Conv2dShape{1, 1, 7, 2, 3}.output(448) == 224);
  CHECK(Conv2dShape{1, 1, 3, 2, 1}.output(7) == 4);
  CHECK(Conv2dShape{1, 1, 0, 1, 0}.output(7) == 0);
  CHECK(Conv2dShape{1, 1, 3, 0, 1}.output(7) == 0);
  CHECK(Conv2dShape{1, 1, 2, 2, 1}.output(0) == 0);
}

TEST_CASE("A convolution refuses operands that do not fit", "[ops]") {
  const std::vector<float> weight(2 * 3 * 9), bias(2);
  check_bad_argument("Conv2d: elements of weight", [&](const Context&) {
    Conv2d<float>({3, 3, 3, 1, 1}, weight, {});
  });
  check_bad_argument("Conv2d: elements of bias", [&](const Context&) {
    Conv2d<float>({3, 2, 3, 1, 1}, weight, std::vector<float>(3));
  });
  for (const ChannelAffine& norm : {ChannelAffine{{1.0}, {}}, ChannelAffine{{}, {1.0}}}) {
    check_bad_argument("Conv2d: channels of norm", [&](const Context&) {
      Conv2d<float>({3, 2, 3, 1, 1}, weight, bias, norm);
    });
  }
  check_bad_argument("Conv2d", [&](const Context&) { Conv2d<float>({3, 2, 0, 1, 1}, {}, bias); });
  check_bad_argument("Conv2d", [&](const Context&) {
    Conv2d<float>({3, 2, 3, 0, 1}, weight, bias);
  });

  const Conv2d<float> layer({3, 2, 3, 1, 1}, weight, bias);
  std::vector<float> storage(1000);
  const auto map = [&](std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    return q2l::FeatureMap<float>(storage.data(), n, h, w, c);
  };
  const auto call = [&](q2l::FeatureMap<const float> in, q2l::FeatureMap<float> out) {
    return [=, &layer](const Context& context) {
      q2l::ops::conv2d<float, DefaultArch>(context, layer, in, out);
    };
  };
  check_bad_argument("conv2d: channels of in", call(map(1, 4, 5, 2), map(1, 4, 5, 2)));
  check_bad_argument("conv2d: channels of out", call(map(1, 4, 5, 3), map(1, 4, 5, 3)));
  check_bad_argument("conv2d: batch of out", call(map(1, 4, 5, 3), map(2, 4, 5, 2)));
  check_bad_argument("conv2d: height of out", call(map(1, 4, 5, 3), map(1, 5, 5, 2)));
  check_bad_argument("conv2d: width of out", call(map(1, 4, 5, 3), map(1, 4, 4, 2)));
}
