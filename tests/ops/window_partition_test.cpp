// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/window_partition.hpp>
#include <vector>

#include "reference/linear_reference.hpp"
#include "reference/window_partition_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::FeatureMap;
using q2l::Matrix;
using q2l::ops::WindowPartition;
using q2l::simd::DefaultArch;

namespace {

/// Whole windows, padding on one or both sides, one window, windows of one token.
const std::vector<WindowPartition> partitions{{2, 4, 4, 2, 1}, {2, 5, 7, 3, 1}, {1, 6, 9, 4, 2},
                                              {2, 3, 3, 3, 0}, {3, 2, 5, 2, 0}, {2, 3, 2, 1, 0},
                                              {1, 4, 4, 4, 3}};

/// A linear layer between a partition's grids and windows.
struct WindowPartitionExample {
  std::size_t in;
  const WindowPartition& p = partitions[in % partitions.size()];
  std::size_t out = in * 5 % 23 + 1;
  std::size_t pixels = p.batch * p.height * p.width;
  std::vector<float> weight = fill("weight", in* out, 0.0, 1.0, in);
  std::vector<float> bias = fill("bias", out, 0.0, 1.0, in);

  template <class T>
  [[nodiscard]] q2l::ops::Linear<T, DefaultArch> layer() const {
    return {in, out, values_of<T>(weight), values_of<T>(bias)};
  }
  template <class T>
  [[nodiscard]] Estimate apply(const Estimate& x, const Estimate& residual = {}) const {
    return LinearReference::apply<T>(x, {out, in, weight}, {1, out, bias}, residual);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("A linear layer reads tokens in the order of shifted windows", "[ops]", float,
                   double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const WindowPartitionExample example{channels};
    const WindowPartition& p = example.p;
    CAPTURE(channels, p.height, p.width, p.window, p.shift);
    const auto layer = example.layer<T>();
    const std::vector<float> values = fill("in", example.pixels * channels, 0.0, 1.0, 1);
    const PoisonedMatrix<T> in(example.pixels, channels, values);
    const std::vector<T> zeros(channels);
    const std::vector<T> result = same_bits_on_any_workers<T>(
        p.tokens(), example.out, [&](const Context& context, Matrix<T> out) {
          q2l::ops::linear_to_windows<T, DefaultArch>(
              context, layer, p, in.map(p.batch, p.height, p.width), zeros.data(), out);
        });
    const Estimate tokens =
        WindowPartitionReference{p}.to_windows({example.pixels, channels, values});
    CHECK(differences(Matrix<const T>(result.data(), p.tokens(), example.out),
                      example.apply<T>(tokens)) == "");
  }
}

TEMPLATE_TEST_CASE("A linear layer puts tokens of shifted windows back and adds to the grid",
                   "[ops]", float, double) {
  using T = TestType;
  for (std::size_t channels = 1; channels <= 67; ++channels) {
    const WindowPartitionExample example{channels};
    const WindowPartition& p = example.p;
    CAPTURE(channels, p.height, p.width, p.window, p.shift);
    const auto layer = example.layer<T>();
    const std::vector<float> values = fill("in", p.tokens() * channels, 0.0, 1.0, 1);
    const std::vector<float> shortcut = fill("shortcut", example.pixels * example.out, 0.0, 1.0, 2);
    const PoisonedMatrix<T> in(p.tokens(), channels, values);
    const PoisonedMatrix<T> residual(example.pixels, example.out, shortcut, 7);
    const std::vector<T> result = same_bits_on_any_workers<T>(
        example.pixels, example.out, [&](const Context& context, Matrix<T> out) {
          q2l::ops::linear_from_windows<T, DefaultArch>(
              context, layer, p, in.view(),
              {out.data, p.batch, p.height, p.width, example.out, out.stride},
              {.residual = residual.view()});
        });
    const Estimate grid = WindowPartitionReference{p}.to_grid({p.tokens(), channels, values});
    CHECK(differences(Matrix<const T>(result.data(), example.pixels, example.out),
                      example.apply<T>(grid, {example.pixels, example.out, shortcut})) == "");
  }
}

TEST_CASE("A partition without tokens or windows is empty", "[ops]") {
  CHECK(WindowPartition{1, 0, 7, 3, 1}.tokens() == 0);
  CHECK(WindowPartition{1, 5, 0, 3, 1}.tokens() == 0);
  CHECK(WindowPartition{1, 5, 7, 0, 0}.windows() == 0);
  const q2l::ops::Linear<float, DefaultArch> layer(3, 5, std::vector<float>(15), {});
  run_planned([&](const Context& context) {
    q2l::ops::linear_to_windows<float, DefaultArch>(
        context, layer, {1, 0, 7, 3, 1}, {nullptr, 1, 0, 7, 3}, nullptr, {nullptr, 0, 5});
    q2l::ops::linear_from_windows<float, DefaultArch>(context, layer, {1, 5, 0, 3, 1},
                                                      {nullptr, 0, 3}, {nullptr, 1, 5, 0, 5});
  });
}

TEST_CASE("Linear layers over windows refuse operands that do not fit", "[ops]") {
  using Map = FeatureMap<float>;
  const q2l::ops::Linear<float, DefaultArch> layer(3, 5, std::vector<float>(15), {});
  const WindowPartition partition{1, 5, 7, 3, 1};
  const auto to_windows = [&](const WindowPartition& p, const Map& in, std::size_t rows) {
    return [=, &layer](const Context& context) {
      q2l::ops::linear_to_windows<float, DefaultArch>(context, layer, p, in, nullptr,
                                                      {nullptr, rows, 5});
    };
  };
  const Map grid(nullptr, 1, 5, 7, 3);
  check_bad_argument("WindowPartition", to_windows({1, 5, 7, 0, 0}, grid, 54));
  check_bad_argument("WindowPartition", to_windows({1, 5, 7, 3, 3}, grid, 54));
  check_bad_argument("WindowPartition: batch", to_windows({2, 5, 7, 3, 1}, grid, 108));
  check_bad_argument("WindowPartition: height of the grid", to_windows({1, 6, 7, 3, 1}, grid, 54));
  check_bad_argument("WindowPartition: width of the grid", to_windows({1, 5, 8, 3, 1}, grid, 54));
  check_bad_argument("linear_to_windows: channels of in",
                     to_windows(partition, Map(nullptr, 1, 5, 7, 4), 54));
  check_bad_argument("linear_to_windows: rows of out", to_windows(partition, grid, 35));

  const auto from_windows = [&](std::size_t rows, std::size_t columns, const Map& out) {
    return [=, &layer](const Context& context) {
      q2l::ops::linear_from_windows<float, DefaultArch>(context, layer, partition,
                                                        {nullptr, rows, columns}, out);
    };
  };
  const Map out(nullptr, 1, 5, 7, 5);
  check_bad_argument("WindowPartition: width of the grid",
                     from_windows(54, 3, Map(nullptr, 1, 5, 6, 5)));
  check_bad_argument("linear_from_windows: columns of in", from_windows(54, 4, out));
  check_bad_argument("linear_from_windows: rows of in", from_windows(35, 3, out));
  check_bad_argument("matmul: columns of out", from_windows(54, 3, Map(nullptr, 1, 5, 7, 6)));
}
