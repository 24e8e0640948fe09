// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "operands.hpp"
#include "query2label/core/context.hpp"
#include "query2label/ops/linear.hpp"
#include "shape_file.hpp"

namespace q2l::benchmarks {

/// A linear layer with its operands, ready to run.
class LinearCase {
 public:
  LinearCase(const LayerShape& shape, const ProductSettings& settings)
      : rows_(shape.sizes[0]),
        depth_(shape.sizes[1]),
        columns_(shape.sizes[2]),
        weight_(counter_random("weight", depth_ * columns_, 0,
                               std::sqrt(3.0 / static_cast<double>(depth_)), 1)),
        layer_(depth_, columns_, weight_, SharedBuffer<float>(), Threads{}, settings),
        in_(made_up(rows_ * depth_)),
        out_(rows_ * columns_) {}

  void run(const Context& context) {
    ops::linear<float, simd::DefaultArch>(context, layer_, {in_.data(), rows_, depth_},
                                          {out_.data(), rows_, columns_});
  }

  /// In which it is computed: not every product can be narrow.
  [[nodiscard]] Precision precision() const { return layer_.weights.precision(); }

  [[nodiscard]] bool is_right() const {
    return samples_agree(out_.size(), [&](std::size_t element) {
      const float* const row = in_.data() + element / columns_ * depth_;
      const float* const weight = weight_.data() + element % columns_ * depth_;
      double sum = 0;
      for (std::size_t k = 0; k < depth_; ++k)
        sum += static_cast<double>(row[k]) * static_cast<double>(weight[k]);
      return agrees(static_cast<double>(out_[element]), sum, depth_, precision());
    });
  }

 private:
  std::size_t rows_, depth_, columns_;
  std::vector<float> weight_;
  ops::Linear<float, simd::DefaultArch> layer_;
  AlignedBuffer<float> in_, out_;
};

}  // namespace q2l::benchmarks
