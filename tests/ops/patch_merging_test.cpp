// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/patch_merging.hpp>
#include <vector>

#include "reference/layer_norm_reference.hpp"
#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using PatchMerging = q2l::ops::PatchMerging<T, DefaultArch>;

/// A layer and its input [N, H, W, C].
struct PatchMergingExample {
  std::size_t batch, height, width, channels;
  std::size_t out_height = (height + 1) / 2, out_width = (width + 1) / 2;
  std::size_t pixels = batch * out_height * out_width;  ///< of the output
  std::vector<float> norm_weight = fill("norm weight", 4 * channels, 1.0, 0.5, 1);
  std::vector<float> norm_bias = fill("norm bias", 4 * channels, 0.0, 1.0, 1);
  std::vector<float> reduction = fill("reduction", 8 * channels * channels, 0.0, 1.0, 1);
  std::vector<float> in = fill("in", batch* height* width* channels, 0.0, 1.0, 1);

  template <class T>
  [[nodiscard]] PatchMerging<T> layer() const {
    return {{values_of<T>(norm_weight), values_of<T>(norm_bias)},
            {4 * channels, 2 * channels, values_of<T>(reduction), {}}};
  }

  template <class T>
  [[nodiscard]] Estimate expected() const {
    Estimate merged(pixels, 4 * channels);
    for (std::size_t i = 0; i < merged.value.size(); ++i) {
      const std::size_t row = i / merged.columns, neighbour = i % merged.columns / channels;
      const std::size_t y = row / out_width % out_height * 2 + neighbour % 2;
      const std::size_t x = row % out_width * 2 + neighbour / 2;
      if (y >= height || x >= width) continue;
      const std::size_t n = row / out_width / out_height;
      merged.value[i] =
          static_cast<double>(in[((n * height + y) * width + x) * channels + i % channels]);
    }
    return LinearReference::apply<T>(
        LayerNormReference::apply<T>(merged, {1, 4 * channels, norm_weight},
                                     {1, 4 * channels, norm_bias}),
        {2 * channels, 4 * channels, reduction}, {});
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Patch merging joins 2 x 2 neighbours of grids of any size", "[ops]", float,
                   double) {
  using T = TestType;
  for (const std::size_t channels : {1u, 3u, 8u, 19u, 67u}) {
    for (const std::size_t height : {1u, 2u, 5u}) {
      for (const std::size_t width : {2u, 3u, 6u}) {
        CAPTURE(channels, height, width);
        const PatchMergingExample example{2, height, width, channels};
        const PatchMerging<T> layer = example.layer<T>();
        const PoisonedMatrix<T> in(2 * height * width, channels, example.in);
        const std::vector<T> result = same_bits_on_any_workers<T>(
            example.pixels, 2 * channels, [&](const Context& context, Matrix<T> out) {
              q2l::ops::patch_merging<T, DefaultArch>(
                  context, layer, in.map(2, height, width),
                  {out.data, 2, example.out_height, example.out_width, 2 * channels, out.stride});
            });
        CHECK(differences(Matrix<const T>(result.data(), example.pixels, 2 * channels),
                          example.expected<T>()) == "");
      }
    }
  }
}

TEST_CASE("Patch merging refuses operands that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const PatchMerging<float> layer = PatchMergingExample{1, 5, 4, 3}.layer<float>();
  const auto call = [&](const Map& in, const Map& out) {
    return [=, &layer](const Context& context) {
      q2l::ops::patch_merging<float, DefaultArch>(context, layer, in, out);
    };
  };
  const Map in(nullptr, 1, 5, 4, 3);
  check_bad_argument("patch_merging: channels of in",
                     call(Map(nullptr, 1, 5, 4, 2), Map(nullptr, 1, 3, 2, 6)));
  check_bad_argument("patch_merging: batch of out", call(in, Map(nullptr, 2, 3, 2, 6)));
  check_bad_argument("patch_merging: height of out", call(in, Map(nullptr, 1, 2, 2, 6)));
  check_bad_argument("patch_merging: width of out", call(in, Map(nullptr, 1, 3, 1, 6)));
  check_bad_argument("matmul: columns of out", call(in, Map(nullptr, 1, 3, 2, 5)));
}
