// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/depthwise_conv2d.hpp>
#include <string_view>
#include <vector>

#include "reference/depthwise_conv2d_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l;
using simd::DefaultArch;

namespace {

template <class T>
std::vector<T> random_values(std::string_view name, std::size_t count) {
  const std::vector<float> values = test::fill(name, count, 0.0, 1.0, 1);
  return {values.begin(), values.end()};
}

ops::ChannelAffine random_norm(std::size_t channels) {
  return {random_values<double>("scale", channels), random_values<double>("shift", channels)};
}

}  // namespace

TEMPLATE_TEST_CASE("depthwise_conv2d filters every channel of any size", "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const ops::ChannelAffine norm = random_norm(channels);
    for (const ops::DepthwiseConv2dShape shape :
         {ops::DepthwiseConv2dShape{channels, 3, 1, 1}, {channels, 3, 2, 1}}) {
      const auto weight = random_values<T>("weight", channels * 9);
      const ops::DepthwiseConv2d<T> layer(shape, weight, norm);
      for (const std::size_t height : {1u, 5u}) {
        for (const std::size_t width : {2u, 6u}) {
          CAPTURE(channels, shape.stride, height, width);
          const std::size_t pixels = 2 * height * width;
          const test::PoisonedMatrix<T> in(pixels, channels,
                                           random_values<T>("in", pixels * channels));
          const FeatureMap<const T> map = in.map(2, height, width);
          const std::size_t out_height = shape.output(height);
          const std::size_t out_width = shape.output(width);
          const auto result = test::same_bits_on_any_workers<T>(
              2 * out_height * out_width, channels, [&](const Context& context, Matrix<T> out) {
                ops::depthwise_conv2d<T, DefaultArch>(
                    context, layer, map,
                    {out.data, 2, out_height, out_width, channels, out.stride});
              });
          const Matrix<const T> view(result.data(), 2 * out_height * out_width, channels);
          REQUIRE(test::differences(
                      view, test::depthwise_conv2d_reference<T>(shape, weight, norm, map)) == "");
        }
      }
    }
  }
}

TEST_CASE("depthwise_conv2d takes any kernel, stride and padding", "[ops]") {
  constexpr std::size_t channels = 13;
  const ops::ChannelAffine norm = random_norm(channels);
  for (const std::size_t kernel : {1u, 2u, 5u, 8u}) {
    for (const std::size_t stride : {1u, 3u}) {
      for (const std::size_t padding : {0u, 1u, 4u}) {
        CAPTURE(kernel, stride, padding);
        const ops::DepthwiseConv2dShape shape{channels, kernel, stride, padding};
        const auto weight = random_values<float>("weight", channels * kernel * kernel);
        const ops::DepthwiseConv2d<float> layer(shape, weight, norm);
        const test::PoisonedMatrix<float> in(9 * 8, channels,
                                             random_values<float>("in", 9 * 8 * channels));
        const std::size_t height = shape.output(9);
        const std::size_t width = shape.output(8);
        test::PoisonedMatrix<float> out(height * width, channels);
        test::run_planned([&](const Context& context) {
          ops::depthwise_conv2d<float, DefaultArch>(context, layer, in.map(1, 9, 8),
                                                    out.map(1, height, width));
        });
        CHECK(out.is_intact());
        CHECK(test::differences(out.view(), test::depthwise_conv2d_reference<float>(
                                                shape, weight, norm, in.map(1, 9, 8))) == "");
      }
    }
  }
}

TEST_CASE("depthwise_conv2d refuses sizes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const ops::DepthwiseConv2dShape shape{3, 3, 2, 1};
  const std::vector<float> weight(27);
  const ops::ChannelAffine norm = random_norm(3);
  const auto subject_of = [](auto&& call) {
    const Error error = test::error_of(call);
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  const auto building = [&](const ops::DepthwiseConv2dShape& s, const ops::ChannelAffine& n) {
    return subject_of([&] { ops::DepthwiseConv2d<float>(s, weight, n); });
  };
  CHECK(building({3, 9, 1, 1}, norm) == "DepthwiseConv2d");
  CHECK(building({4, 3, 1, 1}, norm) == "DepthwiseConv2d: elements of weight");
  CHECK(building(shape, {{1.0, 1.0}, norm.shift}) == "DepthwiseConv2d: scales of norm");
  CHECK(building(shape, {norm.scale, {1.0, 1.0}}) == "DepthwiseConv2d: shifts of norm");

  const ops::DepthwiseConv2d<float> layer(shape, weight, norm);
  const auto running = [&](const Map& in, const Map& out) {
    return subject_of([&] {
      test::run_planned([&](const Context& context) {
        ops::depthwise_conv2d<float, DefaultArch>(context, layer, in, out);
      });
    });
  };
  const Map in(nullptr, 1, 4, 7, 3);
  CHECK(running(Map(nullptr, 1, 4, 7, 2), Map(nullptr, 1, 2, 4, 3)) ==
        "depthwise_conv2d: channels of in");
  CHECK(running(in, Map(nullptr, 1, 2, 4, 2)) == "depthwise_conv2d: channels of out");
  CHECK(running(in, Map(nullptr, 2, 2, 4, 3)) == "depthwise_conv2d: batch of out");
  CHECK(running(in, Map(nullptr, 1, 3, 4, 3)) == "depthwise_conv2d: height of out");
  CHECK(running(in, Map(nullptr, 1, 2, 3, 3)) == "depthwise_conv2d: width of out");
}
