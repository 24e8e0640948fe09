// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <query2label/ops/convolutional_attention.hpp>
#include <string>
#include <vector>

#include "reference/attention_reference.hpp"
#include "reference/depthwise_conv2d_reference.hpp"
#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"
#include "support/values_of.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::ops::ChannelAffine;
using q2l::ops::DepthwiseConv2dShape;
using q2l::ops::TokenGrid;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using ConvolutionalAttention = q2l::ops::ConvolutionalAttention<T, DefaultArch>;

/// A layer, its tokens and its residual.
struct ConvolutionalAttentionExample {
  TokenGrid grid;
  std::size_t heads, width;
  std::vector<float> out = fill("out", width* width, 0.0, 1.0, 1);
  std::vector<float> out_bias = fill("out bias", width, 0.0, 1.0, 1);
  std::vector<float> in = fill("in", grid.rows() * width, 0.0, 1.0, 1);
  std::vector<float> shortcut = fill("shortcut", grid.rows() * width, 0.0, 1.0, 1);

  /// Weights of the projection `which` (q, k or v).
  struct Projection {
    DepthwiseConv2dShape shape;
    std::vector<float> filters, weight, bias;
    ChannelAffine norm;
  };
  [[nodiscard]] Projection projection(const std::string& which) const {
    const std::size_t stride = which == "q" ? 1 : 2;
    return {{width, 3, stride, 1},
            fill(which + " filters", width * 9, 0.0, 1.0, 1),
            fill(which, width * width, 0.0, 1.0, 1),
            fill(which + " bias", width, 0.0, 1.0, 1),
            {values_of<double>(fill(which + " scale", width, 1.0, 0.5, 1)),
             values_of<double>(fill(which + " shift", width, 0.0, 1.0, 1))}};
  }

  template <class T>
  [[nodiscard]] ConvolutionalAttention<T> layer() const {
    const auto make = [&](const std::string& which) {
      const Projection p = projection(which);
      return typename ConvolutionalAttention<T>::Projection{
          {p.shape, values_of<T>(p.filters), p.norm},
          {width, width, values_of<T>(p.weight), values_of<T>(p.bias)}};
    };
    return {heads,
            make("q"),
            make("k"),
            make("v"),
            {width, width, values_of<T>(out), values_of<T>(out_bias)}};
  }

  /// Class token and convolved grid of each image, through the linear layer.
  template <class T>
  [[nodiscard]] Estimate project(const std::string& which) const {
    const Projection p = projection(which);
    const Estimate tokens(grid.rows(), width, in);
    Estimate joined;
    joined.columns = width;
    const auto append = [&](const Estimate& rows) {
      joined.rows += rows.rows;
      joined.value.insert(joined.value.end(), rows.value.begin(), rows.value.end());
      joined.error.insert(joined.error.end(), rows.error.begin(), rows.error.end());
    };
    for (std::size_t n = 0; n < grid.batch; ++n) {
      const std::size_t first = n * grid.tokens();
      append(tokens.row_range(first, grid.class_tokens));
      append(DepthwiseConv2dReference::apply<T>(
          p.shape, tokens.row_range(first + grid.class_tokens, grid.height * grid.width), 1,
          grid.height, grid.width, {width, 9, p.filters}, p.norm));
    }
    return LinearReference::apply<T>(joined, {width, width, p.weight}, {1, width, p.bias});
  }

  template <class T>
  [[nodiscard]] Estimate expected() const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(width));
    const Estimate attended =
        AttentionReference::apply<T>(project<T>("q"), project<T>("k"), project<T>("v"), grid.batch,
                                     heads, scale)
            .out;
    return LinearReference::apply<T>(attended, {width, width, out}, {1, width, out_bias},
                                     {grid.rows(), width, shortcut});
  }
};

template <class T>
std::vector<T> check_convolutional_attention(const ConvolutionalAttentionExample& example) {
  const TokenGrid& grid = example.grid;
  CAPTURE(grid.height, grid.width, grid.class_tokens, example.heads, example.width);
  const ConvolutionalAttention<T> layer = example.layer<T>();
  const PoisonedMatrix<T> in(grid.rows(), example.width, example.in);
  const PoisonedMatrix<T> residual(grid.rows(), example.width, example.shortcut, 7);
  const std::vector<T> result = same_bits_on_any_workers<T>(
      grid.rows(), example.width, [&](const Context& context, Matrix<T> out) {
        q2l::ops::convolutional_attention<T, DefaultArch>(context, layer, grid, in.view(), out,
                                                          {.residual = residual.view()});
      });
  CHECK(differences(Matrix<const T>(result.data(), grid.rows(), example.width),
                    example.expected<T>()) == "");
  return result;
}

}  // namespace

TEMPLATE_TEST_CASE("convolutional_attention is right with and without a class token", "[ops]",
                   float, double) {
  for (const std::size_t class_tokens : {0u, 1u}) {
    for (const std::size_t heads : {1u, 3u}) {
      for (const std::size_t head_width : {1u, 7u, 16u}) {
        check_convolutional_attention<TestType>(
            {{2, 1, 1, class_tokens}, heads, heads * head_width});
        check_convolutional_attention<TestType>(
            {{2, 4, 6, class_tokens}, heads, heads * head_width});
        check_convolutional_attention<TestType>(
            {{1, 5, 3, class_tokens}, heads, heads * head_width});
      }
    }
  }
}

TEST_CASE("convolutional_attention gives an image the same bits in any batch", "[ops]") {
  const ConvolutionalAttentionExample example{{3, 5, 4, 1}, 2, 10};
  const ConvolutionalAttention<float> layer = example.layer<float>();
  const std::size_t size = example.grid.tokens() * 10;
  check_same_bits_alone(
      check_convolutional_attention<float>(example), 3, example.grid.tokens(), 10,
      [&](const Context& context, std::size_t n, Matrix<float> out) {
        q2l::ops::convolutional_attention<float, DefaultArch>(
            context, layer, {1, 5, 4, 1}, {example.in.data() + n * size, example.grid.tokens(), 10},
            out, {.residual = {example.shortcut.data() + n * size, example.grid.tokens(), 10}});
      });
}

TEST_CASE("convolutional_attention refuses operands that do not fit", "[ops]") {
  const ConvolutionalAttention<float> layer =
      ConvolutionalAttentionExample{{1, 2, 2, 1}, 2, 4}.layer<float>();
  const auto call = [&](const Matrix<const float>& in, const Matrix<float>& out) {
    return [=, &layer](const Context& context) {
      q2l::ops::convolutional_attention<float, DefaultArch>(context, layer, {1, 2, 2, 1}, in, out);
    };
  };
  check_bad_argument("convolutional_attention: rows of in", call({nullptr, 4, 4}, {nullptr, 5, 4}));
  check_bad_argument("depthwise_conv2d: channels of in", call({nullptr, 5, 3}, {nullptr, 5, 3}));
  check_bad_argument("linear: rows of out", call({nullptr, 5, 4}, {nullptr, 4, 4}));
  check_bad_argument("matmul: columns of out", call({nullptr, 5, 4}, {nullptr, 5, 3}));
}
