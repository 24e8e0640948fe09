// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>

#include "query2label/core/context.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/ops/linear.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// The 1x1 convolution from the backbone's channels to the transformer's width, which is a linear
/// layer of the tokens; without `keep_input_proj` the tokens pass as they are.
template <class T, class Arch>
struct InputProjection {
  std::optional<ops::Linear<T, Arch>> linear;

  /// Reads `input_proj.weight` [D, C, 1, 1] and `input_proj.bias` [D].
  static InputProjection load(WeightMap& weights, std::size_t channels, std::size_t width) {
    const SharedBuffer<T> weight = weights.take<T>("input_proj.weight", {width, channels, 1, 1});
    const SharedBuffer<T> bias = weights.take<T>("input_proj.bias", {width});
    return {ops::Linear<T, Arch>(channels, width, weight, bias, weights.threads(),
                                 weights.precision().settings("input_proj"))};
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("linear", self.linear);
  }
};

}  // namespace q2l
