// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/depthwise_conv2d.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/ops/scaled_dot_product_attention.hpp"

namespace q2l::ops {

/// Tokens of N grids in a matrix [N (E + H W), D]: an image's E = 0 or 1 class tokens, then its
/// grid row by row.
struct TokenGrid {
  std::size_t batch = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::size_t class_tokens = 0;

  [[nodiscard]] constexpr std::size_t tokens() const noexcept {
    return class_tokens + height * width;
  }
  [[nodiscard]] constexpr std::size_t rows() const noexcept { return batch * tokens(); }

  /// The grid of image `n` in `matrix`.
  template <class T>
  [[nodiscard]] FeatureMap<T> grid(Matrix<T> matrix, std::size_t n) const noexcept {
    return {matrix.data + (n * tokens() + class_tokens) * matrix.stride,
            1,
            height,
            width,
            matrix.columns,
            matrix.stride};
  }
};

/// CvT's self-attention (arXiv 2103.15808): queries, keys and values each pass a depthwise
/// convolution before their linear layer, keys and values one with a stride. Class tokens skip the
/// convolutions. Scores are scaled by D^-0.5, the width of all heads together.
template <class T, class Arch>
struct ConvolutionalAttention {
  struct Projection {
    DepthwiseConv2d<T> convolution;
    Linear<T, Arch> linear;  ///< D -> D

    template <class Self, class Visitor>
    static void visit_buffers(Self& self, Visitor& visit) {
      visit("convolution", self.convolution);
      visit("linear", self.linear);
    }
  };

  std::size_t heads = 1;
  Projection query, key, value;
  Linear<T, Arch> out;  ///< D -> D

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("query", self.query);
    visit("key", self.key);
    visit("value", self.value);
    visit("out", self.out);
  }
};

namespace detail {

/// out = linear(convolution(in)); class tokens go straight to the linear layer.
template <class T, class Arch>
void project_convolved(const Context& context,
                       const typename ConvolutionalAttention<T, Arch>::Projection& projection,
                       const TokenGrid& in_grid, Matrix<const T> in, const TokenGrid& out_grid,
                       Matrix<T> out) {
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> convolved = context.workspace.take_matrix<T>(out.rows, in.columns);
  for (std::size_t n = 0; n < in_grid.batch; ++n) {
    depthwise_conv2d<T, Arch>(context, projection.convolution, in_grid.grid(in, n),
                              out_grid.grid(convolved, n));
    for (std::size_t i = 0; i < in_grid.class_tokens && !context.is_planning(); ++i) {
      std::copy_n(in.row(n * in_grid.tokens() + i), in.columns,
                  convolved.row(n * out_grid.tokens() + i));
    }
  }
  linear<T, Arch>(context, projection.linear, convolved, out);
}

}  // namespace detail

/// out = attention over the tokens of each image in `in` [N (E + H W), D], plus the residual of
/// `options`. `out` must not be `in`. Error: that of `depthwise_conv2d`, two `linear` and
/// `scaled_dot_product_attention`. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void convolutional_attention(const Context& context, const ConvolutionalAttention<T, Arch>& layer,
                             const TokenGrid& grid, Matrix<const T> in, Matrix<T> out,
                             const OutputOptions<T>& options = {}) {
  require_equal(in.rows, grid.rows(), "convolutional_attention: rows of in");
  const DepthwiseConv2dShape& key_shape = layer.key.convolution.shape;
  const TokenGrid key_grid{grid.batch, key_shape.output(grid.height), key_shape.output(grid.width),
                           grid.class_tokens};
  const std::size_t width = in.columns;
  const Workspace::Frame frame(context.workspace);
  const Matrix<T> query = context.workspace.take_matrix<T>(grid.rows(), width);
  const Matrix<T> key = context.workspace.take_matrix<T>(key_grid.rows(), width);
  const Matrix<T> value = context.workspace.take_matrix<T>(key_grid.rows(), width);
  detail::project_convolved<T, Arch>(context, layer.query, grid, in, grid, query);
  detail::project_convolved<T, Arch>(context, layer.key, grid, in, key_grid, key);
  detail::project_convolved<T, Arch>(context, layer.value, grid, in, key_grid, value);
  const Matrix<T> attended = context.workspace.take_matrix<T>(grid.rows(), width);
  scaled_dot_product_attention<T, Arch>(context, query, key, value, grid.batch, layer.heads,
                                        attention_scale<T>(width, 1), {}, attended, nullptr,
                                        layer.key.linear.weights.precision());
  linear<T, Arch>(context, layer.out, attended, out, options);
}

}  // namespace q2l::ops
