// SPDX-License-Identifier: MIT
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/ops/window_attention.hpp>
#include <vector>

#include "reference/attention_reference.hpp"
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

template <class T>
using WindowAttention = q2l::ops::WindowAttention<T, DefaultArch>;

/// A layer, its input [N, H, W, D] and its residual.
struct WindowAttentionExample {
  WindowPartition p;  ///< how the grids are cut
  std::size_t heads, width;
  std::size_t window;  ///< of the layer
  bool is_shifted;
  std::size_t pixels = p.batch * p.height * p.width;
  std::size_t table_rows = (2 * window - 1) * (2 * window - 1);
  std::vector<float> qkv = fill("qkv", 3 * width * width, 0.0, 1.0, 1);
  std::vector<float> qkv_bias = fill("qkv bias", 3 * width, 0.0, 1.0, 1);
  std::vector<float> out = fill("out", width* width, 0.0, 1.0, 1);
  std::vector<float> out_bias = fill("out bias", width, 0.0, 1.0, 1);
  std::vector<float> table = fill("table", table_rows* heads, 0.0, 2.0, 1);
  std::vector<float> in = fill("in", pixels* width, 0.0, 1.0, 1);
  std::vector<float> shortcut = fill("shortcut", pixels* width, 0.0, 1.0, 1);

  template <class T>
  [[nodiscard]] WindowAttention<T> layer() const {
    return {heads,
            window,
            is_shifted,
            {width, 3 * width, values_of<T>(qkv), values_of<T>(qkv_bias)},
            {width, width, values_of<T>(out), values_of<T>(out_bias)},
            values_of<T>(table)};
  }

  /// Tokens copied into windows, each window with a bias and a mask of its own, and copied back.
  template <class T>
  [[nodiscard]] Estimate expected() const {
    const WindowPartitionReference reference{p};
    const Estimate tokens = reference.to_windows({pixels, width, in});
    const auto project = [&](std::size_t which) {
      const auto part = [&](const std::vector<float>& values, std::size_t count) {
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(which * count);
        return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count));
      };
      return LinearReference::apply<T>(tokens, {width, width, part(qkv, width * width)},
                                       {1, width, part(qkv_bias, width)});
    };
    const Estimate bias = reference.bias_and_masks({table_rows, heads, table}, window);
    const Estimate attended =
        AttentionReference::apply<T>(project(0), project(1), project(2), p.windows(), heads,
                                     AttentionReference::scale(width, heads), bias)
            .out;
    return LinearReference::apply<T>(reference.to_grid(attended), {width, width, out},
                                     {1, width, out_bias}, {pixels, width, shortcut});
  }
};

template <class T>
std::vector<T> check_window_attention(const WindowAttentionExample& example) {
  const WindowPartition& p = example.p;
  CAPTURE(p.height, p.width, example.window, example.is_shifted, example.heads, example.width);
  const WindowAttention<T> layer = example.layer<T>();
  const PoisonedMatrix<T> in(example.pixels, example.width, example.in);
  const PoisonedMatrix<T> residual(example.pixels, example.width, example.shortcut, 7);
  const std::vector<T> result = same_bits_on_any_workers<T>(
      example.pixels, example.width, [&](const Context& context, Matrix<T> out) {
        q2l::ops::window_attention<T, DefaultArch>(
            context, layer, in.map(p.batch, p.height, p.width),
            {out.data, p.batch, p.height, p.width, example.width, out.stride},
            {.residual = residual.view()});
      });
  CHECK(differences(Matrix<const T>(result.data(), example.pixels, example.width),
                    example.expected<T>()) == "");
  return result;
}

}  // namespace

TEMPLATE_TEST_CASE("window_attention attends within windows, shifted and padded", "[ops]", float,
                   double) {
  for (const std::size_t heads : {1u, 3u}) {
    for (const std::size_t head_width : {1u, 5u, 16u}) {
      const std::size_t width = heads * head_width;
      check_window_attention<TestType>({{2, 4, 4, 2, 0}, heads, width, 2, false});
      check_window_attention<TestType>({{2, 4, 6, 2, 1}, heads, width, 2, true});
      check_window_attention<TestType>({{1, 6, 6, 3, 1}, heads, width, 3, true});
      check_window_attention<TestType>(
          {{1, 9, 9, 3, 1}, heads, width, 3, true});  // with inner windows
      check_window_attention<TestType>({{2, 5, 8, 4, 0}, heads, width, 4, false});
      check_window_attention<TestType>({{1, 5, 7, 3, 1}, heads, width, 3, true});
      check_window_attention<TestType>({{1, 9, 7, 4, 2}, heads, width, 4, true});
    }
  }
}

TEMPLATE_TEST_CASE(
    "window_attention does not shift in a grid as small as a window and clips the "
    "window to a smaller one",
    "[ops]", float, double) {
  check_window_attention<TestType>({{2, 3, 3, 3, 0}, 2, 6, 3, true});
  check_window_attention<TestType>({{2, 2, 2, 2, 0}, 2, 6, 4, true});
  check_window_attention<TestType>({{2, 1, 1, 1, 0}, 2, 6, 4, false});
  check_window_attention<TestType>({{2, 3, 5, 3, 0}, 2, 6, 4, true});
  check_window_attention<TestType>({{2, 5, 4, 4, 0}, 2, 6, 4, true});
}

TEST_CASE(
    "window_attention gives an image the same bits in any batch, and in place of its residual",
    "[ops]") {
  const WindowAttentionExample example{{3, 7, 9, 4, 2}, 2, 12, 4, true};
  const WindowAttention<float> layer = example.layer<float>();
  const std::vector<float> all = check_window_attention<float>(example);
  check_same_bits_alone(all, 3, 7 * 9, 12,
                        [&](const Context& context, std::size_t n, Matrix<float> out) {
                          const std::size_t first = n * 7 * 9 * 12;
                          for (std::size_t i = 0; i < 7 * 9 * 12 && !context.is_planning(); ++i) {
                            out.row(i / 12)[i % 12] = example.shortcut[first + i];
                          }
                          q2l::ops::window_attention<float, DefaultArch>(
                              context, layer, {example.in.data() + first, 1, 7, 9, 12},
                              {out.data, 1, 7, 9, 12, out.stride}, {.residual = out});
                        });
}

TEST_CASE("window_attention refuses grids of no tokens", "[ops]") {
  const WindowAttention<float> layer =
      WindowAttentionExample{{1, 4, 4, 2, 0}, 1, 4, 2, false}.layer<float>();
  for (const auto& [batch, height, width] :
       {std::array<std::size_t, 3>{0, 4, 4}, {1, 0, 4}, {1, 4, 0}}) {
    const q2l::FeatureMap<float> empty(nullptr, batch, height, width, 4);
    check_bad_argument("window_attention", [&](const Context& context) {
      q2l::ops::window_attention<float, DefaultArch>(context, layer, empty, empty);
    });
  }
}

TEST_CASE("WindowAttention refuses sizes that do not fit", "[ops]") {
  const auto build = [](std::size_t window, std::size_t qkv_in, std::size_t qkv_out,
                        std::size_t table_size) {
    return [=](const Context&) {
      WindowAttention<float>(2, window, false,
                             {qkv_in, qkv_out, std::vector<float>(qkv_in * qkv_out), {}},
                             {4, 4, std::vector<float>(16), {}}, std::vector<float>(table_size));
    };
  };
  check_bad_argument("WindowAttention", build(0, 4, 12, 0));
  check_bad_argument("WindowAttention", build(33, 4, 12, 65 * 65 * 2));
  check_bad_argument("WindowAttention: inputs of qkv", build(2, 3, 12, 18));
  check_bad_argument("WindowAttention: outputs of qkv", build(2, 4, 8, 18));
  check_bad_argument("WindowAttention: elements of the bias table", build(2, 4, 12, 9));
}
