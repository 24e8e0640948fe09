// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "query2label/core/tensor.hpp"

namespace q2l {

/// Sees what goes into and comes out of every convolution and linear layer while a model runs: for
/// calibration and for comparing precisions. Called from the thread that runs the inference.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;

  /// `in` and `out` have one row per pixel or token; values are valid during the call.
  virtual void observe(std::string_view layer, Matrix<const float> in, Matrix<const float> out) = 0;
};

}  // namespace q2l
