// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <query2label/ops/multi_head_attention.hpp>
#include <string>
#include <vector>

#include "reference/attention_reference.hpp"
#include "reference/estimate.hpp"
#include "reference/linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/values_of.hpp"

namespace q2l::test {

/// torch.nn.MultiheadAttention as it is written down: project, attend, project.
struct MultiHeadAttentionReference {
  static constexpr Domain domain{0.0, 1.0};

  std::size_t width = 0;
  std::size_t heads = 0;
  std::vector<float> in_weight, in_bias, out_weight, out_bias;

  /// Weights with which a projection changes its operand's magnitude by `gain`.
  static MultiHeadAttentionReference filled(const std::string& name, std::size_t width,
                                            std::size_t heads, double gain = 1.0) {
    const double radius = gain * std::sqrt(3.0 / static_cast<double>(width));
    return {width,
            heads,
            fill(name + ".in_proj_weight", 3 * width * width, 0.0, radius, 1),
            fill(name + ".in_proj_bias", 3 * width, 0.0, 0.5, 1),
            fill(name + ".out_proj.weight", width * width, 0.0, radius, 1),
            fill(name + ".out_proj.bias", width, 0.0, 0.5, 1)};
  }

  /// `make(parameters)`, a layer with the same weights in T.
  template <class T, class Make>
  [[nodiscard]] auto layer(Make&& make) const {
    const std::vector<T> iw = values_of<T>(in_weight), ib = values_of<T>(in_bias);
    const std::vector<T> ow = values_of<T>(out_weight), ob = values_of<T>(out_bias);
    return make(ops::MultiHeadAttentionParameters<T>{width, heads, iw, ib, ow, ob});
  }

  /// query [N M, D], key and value [N T, D]; `residual` [N M, D] may be empty.
  template <class T>
  [[nodiscard]] AttentionReference::Result apply(const Estimate& query, const Estimate& key,
                                                 const Estimate& value, std::size_t sequences,
                                                 const Estimate& residual = {}) const {
    const Estimate weight(3 * width, width, in_weight), bias(3, width, in_bias);
    const auto project = [&](std::size_t i, const Estimate& x) {
      return LinearReference::apply<T>(x, weight.row_range(i * width, width), bias.row_range(i, 1));
    };
    AttentionReference::Result result =
        AttentionReference::apply<T>(project(0, query), project(1, key), project(2, value),
                                     sequences, heads, AttentionReference::scale(width, heads));
    result.out = LinearReference::apply<T>(result.out, {width, width, out_weight},
                                           {1, width, out_bias}, residual);
    return result;
  }
};

}  // namespace q2l::test
