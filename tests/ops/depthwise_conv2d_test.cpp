// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/depthwise_conv2d.hpp>
#include <vector>

#include "reference/depthwise_conv2d_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::ops::ChannelAffine;
using q2l::ops::DepthwiseConv2d;
using q2l::ops::DepthwiseConv2dShape;
using q2l::simd::DefaultArch;

namespace {

/// A convolution and its input.
struct DepthwiseConv2dExample {
  DepthwiseConv2dShape shape;
  std::size_t batch, height, width;
  std::vector<float> weight =
      fill("weight", shape.channels* shape.kernel* shape.kernel, 0.0, 1.0, 1);
  ChannelAffine norm{values_of<double>(fill("scale", shape.channels, 0.0, 1.0, 2)),
                     values_of<double>(fill("shift", shape.channels, 0.0, 1.0, 3))};
  std::vector<float> in = fill("in", batch* height* width* shape.channels, 0.0, 1.0, 4);

  [[nodiscard]] std::size_t pixels() const {
    return batch * shape.output(height) * shape.output(width);
  }
  template <class T>
  [[nodiscard]] Estimate expected() const {
    return DepthwiseConv2dReference::apply<T>(
        shape, {batch * height * width, shape.channels, in}, batch, height, width,
        {shape.channels, shape.kernel * shape.kernel, weight}, norm);
  }
};

template <class T>
std::vector<T> check_depthwise_conv2d(const DepthwiseConv2dExample& example) {
  const DepthwiseConv2dShape& s = example.shape;
  CAPTURE(s.channels, s.kernel, s.stride, s.padding, example.height, example.width);
  const DepthwiseConv2d<T> layer(s, values_of<T>(example.weight), example.norm);
  const PoisonedMatrix<T> in(example.batch * example.height * example.width, s.channels,
                             example.in);
  const std::vector<T> out = same_bits_on_any_workers<T>(
      example.pixels(), s.channels, [&](const Context& context, Matrix<T> result) {
        q2l::ops::depthwise_conv2d<T, DefaultArch>(
            context, layer, in.map(example.batch, example.height, example.width),
            {result.data, example.batch, s.output(example.height), s.output(example.width),
             s.channels, result.stride});
      });
  CHECK(differences(Matrix<const T>(out.data(), example.pixels(), s.channels),
                    example.expected<T>()) == "");
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("A depthwise convolution of any channels and odd sizes is right", "[ops]", float,
                   double) {
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    for (const std::size_t stride : {1u, 2u}) {
      for (const std::size_t height : {1u, 5u}) {
        check_depthwise_conv2d<TestType>({{channels, 3, stride, 1}, 2, height, 6 - stride});
      }
    }
  }
}

TEST_CASE("A depthwise convolution takes any kernel, stride and padding", "[ops]") {
  for (const std::size_t kernel : {1u, 2u, 5u, 8u}) {
    for (const std::size_t stride : {1u, 3u}) {
      for (const std::size_t padding : {0u, 1u, 4u}) {
        check_depthwise_conv2d<float>({{13, kernel, stride, padding}, 1, 9, 8});
      }
    }
  }
}

TEST_CASE("A depthwise convolution gives an image the same bits in any batch", "[ops]") {
  const DepthwiseConv2dExample example{{19, 3, 2, 1}, 3, 5, 7};
  const DepthwiseConv2d<float> layer(example.shape, example.weight, example.norm);
  check_same_bits_alone(check_depthwise_conv2d<float>(example), 3, 3 * 4, 19,
                        [&](const Context& context, std::size_t n, Matrix<float> out) {
                          q2l::ops::depthwise_conv2d<float, DefaultArch>(
                              context, layer,
                              FeatureMap<const float>(example.in.data(), 3, 5, 7, 19).image(n),
                              {out.data, 1, 3, 4, 19, out.stride});
                        });
}

TEST_CASE("A depthwise convolution refuses operands that do not fit", "[ops]") {
  const std::vector<float> weight(27);
  const std::vector<double> three(3), two(2);
  const auto build = [&](const DepthwiseConv2dShape& shape, const ChannelAffine& norm) {
    return [=](const Context&) { DepthwiseConv2d<float>(shape, weight, norm); };
  };
  check_bad_argument("DepthwiseConv2d", build({3, 9, 1, 1}, {three, three}));
  check_bad_argument("DepthwiseConv2d", build({3, 0, 1, 1}, {three, three}));
  check_bad_argument("DepthwiseConv2d", build({3, 3, 0, 1}, {three, three}));
  CHECK(DepthwiseConv2dShape{3, 3, 0, 1}.output(7) == 0);
  check_bad_argument("DepthwiseConv2d: elements of weight", build({4, 3, 1, 1}, {three, three}));
  check_bad_argument("DepthwiseConv2d: scales of norm", build({3, 3, 1, 1}, {two, three}));
  check_bad_argument("DepthwiseConv2d: shifts of norm", build({3, 3, 1, 1}, {three, two}));

  using Map = FeatureMap<float>;
  const DepthwiseConv2d<float> layer({3, 3, 2, 1}, weight, {three, three});
  const auto call = [&](const Map& in, const Map& out) {
    return [=, &layer](const Context& context) {
      q2l::ops::depthwise_conv2d<float, DefaultArch>(context, layer, in, out);
    };
  };
  const Map in(nullptr, 1, 4, 7, 3);
  check_bad_argument("depthwise_conv2d: channels of in",
                     call(Map(nullptr, 1, 4, 7, 2), Map(nullptr, 1, 2, 4, 3)));
  check_bad_argument("depthwise_conv2d: channels of out", call(in, Map(nullptr, 1, 2, 4, 2)));
  check_bad_argument("depthwise_conv2d: batch of out", call(in, Map(nullptr, 2, 2, 4, 3)));
  check_bad_argument("depthwise_conv2d: height of out", call(in, Map(nullptr, 1, 3, 4, 3)));
  check_bad_argument("depthwise_conv2d: width of out", call(in, Map(nullptr, 1, 2, 3, 3)));
}
