// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/window_attention.hpp>
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
std::vector<T> random_table(std::size_t window, std::size_t heads) {
  return random_values<T>("table", (2 * window - 1) * (2 * window - 1) * heads);
}

template <class T>
ops::WindowAttention<T, DefaultArch> random_layer(std::size_t width, std::size_t heads,
                                                  std::size_t window, bool is_shifted) {
  return {
      heads,
      window,
      is_shifted,
      {width, 3 * width, random_values<T>("qkv", 3 * width * width),
       random_values<T>("qkv bias", 3 * width)},
      {width, width, random_values<T>("out", width * width), random_values<T>("out bias", width)},
      random_table<T>(window, heads)};
}

/// The layer without its short cuts: tokens copied into windows, each window on its own with a bias
/// and mask of its own, and copied back.
template <class T>
void attend_each_window(const Context& context, const ops::WindowAttention<T, DefaultArch>& layer,
                        const ops::WindowPartition& partition, FeatureMap<const T> in,
                        Matrix<T> out) {
  const test::WindowPartitionReference reference{partition};
  const std::size_t width = layer.width(), heads = layer.heads;
  const std::size_t tokens = partition.window * partition.window;
  const std::vector<T> copy = reference.to_windows(in);
  const std::vector<double> masks = reference.masks();
  const std::vector<T> bias =
      reference.relative_position_bias(random_table<T>(layer.window, heads), layer.window, heads);
  std::vector<T> projected(partition.tokens() * 3 * width), attended(partition.tokens() * width);
  const Matrix<T> qkv{projected.data(), partition.tokens(), 3 * width};
  const Matrix<T> all_attended{attended.data(), partition.tokens(), width};
  ops::linear<T, DefaultArch>(context, layer.qkv, {copy.data(), partition.tokens(), width}, qkv);
  for (std::size_t i = 0; i < partition.windows(); ++i) {
    std::vector<T> masked = bias;
    for (std::size_t e = 0; e < masked.size(); ++e) {
      const std::size_t pair = e % (tokens * tokens);
      if (partition.shift > 0) masked[e] += static_cast<T>(masks[i * tokens * tokens + pair]);
    }
    const Matrix<T> window = qkv.row_range(i * tokens, tokens);
    ops::scaled_dot_product_attention<T, DefaultArch>(
        context, window.column_range(0, width), window.column_range(width, width),
        window.column_range(2 * width, width), 1, heads, ops::attention_scale<T>(width, heads),
        {masked.data()}, all_attended.row_range(i * tokens, tokens));
  }
  const std::vector<T> grid = reference.to_grid(Matrix<const T>(all_attended));
  ops::linear<T, DefaultArch>(context, layer.out, {grid.data(), out.rows, width}, out);
}

}  // namespace

TEMPLATE_TEST_CASE("window_attention attends within each window with its bias and mask", "[ops]",
                   float, double) {
  using T = TestType;
  struct Case {
    std::size_t height, grid_width, window;
    bool is_shifted;
    ops::WindowPartition partition;
  };
  const auto c =
      GENERATE(Case{4, 4, 2, false, {2, 4, 4, 2, 0}},  // whole windows
               Case{4, 6, 2, true, {2, 4, 6, 2, 1}},   //
               Case{6, 6, 3, true, {2, 6, 6, 3, 1}},   // an odd window
               Case{5, 7, 3, true, {2, 5, 7, 3, 1}},   // padded on both sides
               Case{5, 8, 4, false, {2, 5, 8, 4, 0}}, Case{9, 7, 4, true, {2, 9, 7, 4, 2}},
               Case{3, 3, 3, true, {2, 3, 3, 3, 0}},   // one window: no shift
               Case{2, 2, 4, true, {2, 2, 2, 2, 0}},   // smaller than a window
               Case{3, 5, 4, true, {2, 3, 5, 3, 0}});  // on one side
  const std::size_t heads = GENERATE(1, 3);
  const std::size_t width = heads * GENERATE(1, 5, 16);
  CAPTURE(c.height, c.grid_width, c.window, c.is_shifted, heads, width);
  const auto layer = random_layer<T>(width, heads, c.window, c.is_shifted);
  const std::size_t pixels = 2 * c.height * c.grid_width;
  const test::PoisonedMatrix<T> in(pixels, width, random_values<T>("in", pixels * width));
  const FeatureMap<const T> grid = in.map(2, c.height, c.grid_width);
  const std::vector<T> fused =
      test::same_bits_on_any_workers<T>(pixels, width, [&](const Context& context, Matrix<T> out) {
        ops::window_attention<T, DefaultArch>(
            context, layer, grid, {out.data, 2, c.height, c.grid_width, width, out.stride});
      });
  test::PoisonedMatrix<T> expected(pixels, width);
  test::run_planned([&](const Context& context) {
    attend_each_window<T>(context, layer, c.partition, grid, expected.view());
  });
  CHECK(test::same_bits(fused, expected.values()));
}

TEST_CASE("window_attention gives an image the same bits in any batch", "[ops]") {
  constexpr std::size_t width = 12, pixels = 7 * 9;
  const auto layer = random_layer<float>(width, 2, 4, true);
  const auto in = random_values<float>("in", 3 * pixels * width);
  const auto run = [&](std::size_t workers, std::size_t first, std::size_t images) {
    std::vector<float> out(images * pixels * width);
    test::run_planned(workers, [&](const Context& context) {
      ops::window_attention<float, DefaultArch>(
          context, layer, {in.data() + first * pixels * width, images, 7, 9, width},
          {out.data(), images, 7, 9, width});
    });
    return out;
  };
  const std::vector<float> together = run(3, 0, 3);
  std::vector<float> one_by_one;
  for (std::size_t n = 0; n < 3; ++n) {
    const std::vector<float> alone = run(1, n, 1);
    one_by_one.insert(one_by_one.end(), alone.begin(), alone.end());
  }
  CHECK(test::same_bits(together, one_by_one));
}

TEST_CASE("window_attention adds its residual in place", "[ops]") {
  constexpr std::size_t width = 6, pixels = 5 * 5;
  const auto layer = random_layer<double>(width, 3, 3, true);
  const auto in = random_values<double>("in", pixels * width);
  const auto shortcut = random_values<double>("shortcut", pixels * width);
  std::vector<double> plain(pixels * width), in_place = shortcut;
  const FeatureMap<const double> grid{in.data(), 1, 5, 5, width};
  test::run_planned([&](const Context& context) {
    ops::window_attention<double, DefaultArch>(context, layer, grid,
                                               {plain.data(), 1, 5, 5, width});
  });
  test::run_planned([&](const Context& context) {
    ops::window_attention<double, DefaultArch>(
        context, layer, grid, {in_place.data(), 1, 5, 5, width},
        {.residual = Matrix<const double>(in_place.data(), pixels, width)});
  });
  for (std::size_t i = 0; i < plain.size(); ++i) {
    // Sums of 8 terms of at most 2 each: 16 roundings of less than 16 eps.
    CHECK(test::is_close(in_place[i], plain[i] + shortcut[i], 256 * test::rounding<double>));
  }
}

TEST_CASE("WindowAttention refuses sizes that do not fit", "[ops]") {
  using Linear = ops::Linear<float, DefaultArch>;
  const auto linear = [](std::size_t in, std::size_t out) {
    return Linear(in, out, std::vector<float>(in * out), {});
  };
  const auto subject_of = [&](std::size_t window, Linear qkv, std::size_t table_size) {
    const Error error = test::error_of([&] {
      const std::vector<float> table(table_size);
      ops::WindowAttention<float, DefaultArch>(2, window, false, std::move(qkv), linear(4, 4),
                                               table);
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    return error.place().subject;
  };
  CHECK(subject_of(0, linear(4, 12), 0) == "WindowAttention");
  CHECK(subject_of(33, linear(4, 12), 65 * 65 * 2) == "WindowAttention");
  CHECK(subject_of(2, linear(3, 12), 18) == "WindowAttention: inputs of qkv");
  CHECK(subject_of(2, linear(4, 8), 18) == "WindowAttention: outputs of qkv");
  CHECK(subject_of(2, linear(4, 12), 9) == "WindowAttention: elements of the bias table");
}
