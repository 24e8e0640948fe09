// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/window_partition.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "reference/window_partition_reference.hpp"
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

template <class T>
ops::Linear<T, DefaultArch> random_linear(std::size_t in, std::size_t out) {
  return {in, out, random_values<T>("weight", in * out), random_values<T>("bias", out)};
}

/// Whole windows, padding on one or both sides, one window, windows of one token.
const std::vector<ops::WindowPartition> partitions{
    {2, 4, 4, 2, 1}, {2, 5, 7, 3, 1}, {1, 6, 9, 4, 2}, {2, 3, 3, 3, 0},
    {3, 2, 5, 2, 0}, {2, 3, 2, 1, 0}, {1, 4, 4, 4, 3}};

}  // namespace

// A row of a product has the same bits wherever its operands lie, so the fused forms must give
// exactly what a linear layer makes of the copies that they spare.

TEMPLATE_TEST_CASE("linear_to_windows is a linear layer over tokens copied in window order",
                   "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const ops::WindowPartition& p = partitions[channels % partitions.size()];
    const std::size_t features = channels * 5 % 23 + 1;
    CAPTURE(channels, p.height, p.width, p.window, p.shift);
    const auto layer = random_linear<T>(channels, features);
    const std::size_t pixels = p.batch * p.height * p.width;
    const test::PoisonedMatrix<T> in(pixels, channels, random_values<T>("in", pixels * channels));
    const FeatureMap<const T> grid = in.map(p.batch, p.height, p.width);
    const std::vector<T> zeros(channels, T(0));
    const auto fused = test::same_bits_on_any_workers<T>(
        p.tokens(), features, [&](const Context& context, Matrix<T> out) {
          ops::linear_to_windows<T, DefaultArch>(context, layer, p, grid, zeros.data(), out);
        });
    const std::vector<T> copy = test::WindowPartitionReference{p}.to_windows(grid);
    const auto expected = test::same_bits_on_any_workers<T>(
        p.tokens(), features, [&](const Context& context, Matrix<T> out) {
          ops::linear<T, DefaultArch>(context, layer, {copy.data(), p.tokens(), channels}, out);
        });
    CHECK(test::same_bits(fused, expected));
  }
}

TEMPLATE_TEST_CASE("linear_from_windows is a linear layer over tokens copied in grid order",
                   "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const ops::WindowPartition& p = partitions[channels % partitions.size()];
    const std::size_t features = channels * 5 % 23 + 1;
    CAPTURE(channels, p.height, p.width, p.window, p.shift);
    const auto layer = random_linear<T>(channels, features);
    const std::size_t pixels = p.batch * p.height * p.width;
    const test::PoisonedMatrix<T> in(p.tokens(), channels,
                                     random_values<T>("in", p.tokens() * channels));
    const std::vector<T> shortcut = random_values<T>("shortcut", pixels * features);
    const ops::OutputOptions<T> options{.residual = {shortcut.data(), pixels, features}};
    const auto fused = test::same_bits_on_any_workers<T>(
        pixels, features, [&](const Context& context, Matrix<T> out) {
          const FeatureMap<T> grid{out.data, p.batch, p.height, p.width, features, out.stride};
          ops::linear_from_windows<T, DefaultArch>(context, layer, p, in.view(), grid, options);
        });
    const std::vector<T> copy = test::WindowPartitionReference{p}.to_grid(in.view());
    const auto expected = test::same_bits_on_any_workers<
        T>(pixels, features, [&](const Context& context, Matrix<T> out) {
      ops::linear<T, DefaultArch>(context, layer, {copy.data(), pixels, channels}, out, options);
    });
    CHECK(test::same_bits(fused, expected));
  }
}

TEST_CASE("Linear layers over windows refuse shapes that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const auto layer = random_linear<float>(3, 5);
  const ops::WindowPartition partition{1, 5, 7, 3, 1};
  const float zeros[3]{};
  const auto subject_of = [](auto&& call) {
    const Error error = test::error_of([&] { test::run_planned(call); });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  const auto to_windows = [&](const ops::WindowPartition& p, const Map& in, std::size_t rows) {
    return subject_of([&](const Context& context) {
      ops::linear_to_windows<float, DefaultArch>(context, layer, p, in, zeros, {nullptr, rows, 5});
    });
  };
  const auto from_windows = [&](std::size_t rows, std::size_t columns, const Map& out) {
    return subject_of([&](const Context& context) {
      ops::linear_from_windows<float, DefaultArch>(context, layer, partition,
                                                   {nullptr, rows, columns}, out);
    });
  };
  const Map grid(nullptr, 1, 5, 7, 3);
  CHECK(to_windows({1, 5, 7, 0, 0}, grid, 54) == "WindowPartition");
  CHECK(to_windows({1, 5, 7, 3, 3}, grid, 54) == "WindowPartition");
  CHECK(to_windows({2, 5, 7, 3, 1}, grid, 108) == "WindowPartition: batch");
  CHECK(to_windows({1, 6, 7, 3, 1}, grid, 54) == "WindowPartition: height of the grid");
  CHECK(to_windows({1, 5, 8, 3, 1}, grid, 54) == "WindowPartition: width of the grid");
  CHECK(to_windows(partition, Map(nullptr, 1, 5, 7, 4), 54) == "linear_to_windows: channels of in");
  CHECK(to_windows(partition, grid, 35) == "linear_to_windows: rows of out");
  const Map out(nullptr, 1, 5, 7, 5);
  CHECK(from_windows(54, 3, Map(nullptr, 1, 5, 6, 5)) == "WindowPartition: width of the grid");
  CHECK(from_windows(54, 4, out) == "linear_from_windows: columns of in");
  CHECK(from_windows(35, 3, out) == "linear_from_windows: rows of in");
  CHECK(from_windows(54, 3, Map(nullptr, 1, 5, 7, 6)) == "matmul: columns of out");
}
