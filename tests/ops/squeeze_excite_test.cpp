// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/squeeze_excite.hpp>
#include <string_view>
#include <vector>

#include "reference/squeeze_excite_reference.hpp"
#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l;
using simd::DefaultArch;

namespace {

template <class T>
std::vector<T> random_values(std::string_view name, std::size_t count, double scale) {
  const std::vector<float> values = test::fill(name, count, 0.0, scale, 1);
  return {values.begin(), values.end()};
}

/// Weights large enough that gates lie all over 0 .. 1.
template <class T>
test::SqueezeExciteWeights<T> random_weights(std::size_t channels, std::size_t squeezed) {
  return {random_values<T>("fc1.weight", squeezed * channels, 3.0),
          random_values<T>("fc1.bias", squeezed, 1.0),
          random_values<T>("fc2.weight", channels * squeezed, 1.0),
          random_values<T>("fc2.bias", channels, 1.0)};
}

template <class T>
ops::SqueezeExcite<T, DefaultArch> layer_of(const test::SqueezeExciteWeights<T>& weights) {
  const std::size_t squeezed = weights.fc1_bias.size();
  const std::size_t channels = weights.fc2_bias.size();
  return {{channels, squeezed, weights.fc1_weight, weights.fc1_bias},
          {squeezed, channels, weights.fc2_weight, weights.fc2_bias}};
}

}  // namespace

TEMPLATE_TEST_CASE("squeeze_excite gates every channel of any size", "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const auto weights = random_weights<T>(channels, channels % 9 + 1);
    const auto layer = layer_of(weights);
    for (const auto& size : {std::array<std::size_t, 2>{1, 1}, {4, 7}}) {
      const std::size_t height = size[0];
      const std::size_t width = size[1];
      CAPTURE(channels, height, width);
      const std::size_t pixels = 2 * height * width;
      const test::PoisonedMatrix<T> in(pixels, channels,
                                       random_values<T>("in", pixels * channels, 1.0));
      const FeatureMap<const T> map = in.map(2, height, width);
      const auto result = test::same_bits_on_any_workers<T>(
          pixels, channels, [&](const Context& context, Matrix<T> out) {
            ops::squeeze_excite<T, DefaultArch>(context, layer, map,
                                                {out.data, 2, height, width, channels, out.stride});
          });
      const Matrix<const T> view(result.data(), pixels, channels);
      const auto expected = test::SqueezeExciteReference::apply<T>(weights, map);
      REQUIRE(test::differences(view, expected) == "");
    }
  }
}

TEMPLATE_TEST_CASE("squeeze_excite adds a residual and activates, also in place", "[ops]", float,
                   double) {
  using T = TestType;
  constexpr std::size_t pixels = 3 * 5 * 3;
  for (const std::size_t channels : {1u, 16u, 37u}) {
    CAPTURE(channels);
    const auto weights = random_weights<T>(channels, 5);
    const auto layer = layer_of(weights);
    const auto in_values = random_values<T>("in", pixels * channels, 1.0);
    const auto shortcut_values = random_values<T>("shortcut", pixels * channels, 1.0);
    const test::PoisonedMatrix<T> in(pixels, channels, in_values);
    const test::PoisonedMatrix<T> shortcut(pixels, channels, shortcut_values, 7);
    const auto expected = test::SqueezeExciteReference::apply<T>(
        weights, in.map(3, 5, 3), shortcut.view(), Activation::leaky_relu(0.25));
    const auto check = [&](Matrix<const T> x, Matrix<const T> residual,
                           test::PoisonedMatrix<T>& out) {
      test::run_planned(2, [&](const Context& context) {
        ops::squeeze_excite<T, DefaultArch>(
            context, layer, {x.data, 3, 5, 3, channels, x.stride}, out.map(3, 5, 3),
            {.activation = Activation::leaky_relu(0.25), .residual = residual});
      });
      CHECK(out.is_intact());
      CHECK(test::differences(out.view(), expected) == "");
    };
    test::PoisonedMatrix<T> out(pixels, channels);
    check(in.view(), shortcut.view(), out);
    test::PoisonedMatrix<T> over_input(pixels, channels, in_values);
    check(over_input.view(), shortcut.view(), over_input);
    test::PoisonedMatrix<T> over_residual(pixels, channels, shortcut_values);
    check(in.view(), over_residual.view(), over_residual);
  }
}

TEST_CASE("squeeze_excite gives an image the same bits in any batch", "[ops]") {
  constexpr std::size_t pixels = 9 * 11;
  constexpr std::size_t channels = 19;
  const auto layer = layer_of(random_weights<float>(channels, 6));
  const auto in = random_values<float>("in", 4 * pixels * channels, 1.0);
  const auto run = [&](std::size_t workers, std::size_t first, std::size_t images) {
    std::vector<float> out(images * pixels * channels);
    test::run_planned(workers, [&](const Context& context) {
      ops::squeeze_excite<float, DefaultArch>(
          context, layer, {in.data() + first * pixels * channels, images, 9, 11, channels},
          {out.data(), images, 9, 11, channels});
    });
    return out;
  };
  const std::vector<float> together = run(3, 0, 4);
  std::vector<float> one_by_one;
  for (std::size_t n = 0; n < 4; ++n) {
    const std::vector<float> alone = run(1, n, 1);
    one_by_one.insert(one_by_one.end(), alone.begin(), alone.end());
  }
  CHECK(test::same_bits(together, one_by_one));
}

TEST_CASE("squeeze_excite refuses shapes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const auto layer = layer_of(random_weights<float>(3, 2));
  float element = 0.0f;  // never read: a residual counts where it has an address
  const auto refusal = [&](const Map& in, const Map& out, std::size_t residual_rows = 8,
                           std::size_t residual_columns = 3) {
    const Error error = test::error_of([&] {
      test::run_planned([&](const Context& context) {
        ops::squeeze_excite<float, DefaultArch>(
            context, layer, in, out,
            {.residual = Matrix<float>(&element, residual_rows, residual_columns)});
      });
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  const Map in(nullptr, 1, 2, 4, 3);
  CHECK(refusal(in, Map(nullptr, 2, 2, 4, 3)) == "squeeze_excite: batch of out");
  CHECK(refusal(in, Map(nullptr, 1, 3, 4, 3)) == "squeeze_excite: height of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 5, 3)) == "squeeze_excite: width of out");
  CHECK(refusal(in, Map(nullptr, 1, 2, 4, 4)) == "squeeze_excite: channels of out");
  CHECK(refusal(in, in, 7, 3) == "squeeze_excite: rows of residual");
  CHECK(refusal(in, in, 8, 2) == "squeeze_excite: columns of residual");
  const Map empty(nullptr, 1, 0, 4, 3);
  CHECK(refusal(empty, empty, 0, 3) == "squeeze_excite");
  const Map wider(nullptr, 1, 2, 4, 4);
  CHECK(refusal(wider, wider, 8, 4) == "linear: columns of in");
}
