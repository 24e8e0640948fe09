// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "operands.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/ops/scaled_dot_product_attention.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "shape_file.hpp"

namespace q2l::benchmarks {

/// The core of attention, two products and the softmax between them, with its operands.
class AttentionCase {
 public:
  AttentionCase(const LayerShape& shape, const ProductSettings& settings)
      : sequences_(shape.sizes[0]),
        heads_(shape.sizes[1]),
        queries_(shape.sizes[2]),
        keys_(shape.sizes[3]),
        head_width_(shape.sizes[4]),
        precision_(settings.precision == Precision::bf16 &&
                           simd::has_amx<float, bfloat16, simd::DefaultArch>
                       ? Precision::bf16
                       : Precision::f32),
        q_(made_up(sequences_ * queries_ * width(), "q")),
        k_(made_up(sequences_ * keys_ * width(), "k")),
        v_(made_up(sequences_ * keys_ * width(), "v")),
        out_(q_.size()) {}

  void run(const Context& context) {
    ops::scaled_dot_product_attention<float, simd::DefaultArch>(
        context, {q_.data(), sequences_ * queries_, width()},
        {k_.data(), sequences_ * keys_, width()}, {v_.data(), sequences_ * keys_, width()},
        sequences_, heads_, ops::attention_scale<float>(width(), heads_), {},
        {out_.data(), sequences_ * queries_, width()}, nullptr, precision_);
  }

  [[nodiscard]] Precision precision() const { return precision_; }

  [[nodiscard]] bool is_right() const {
    return samples_agree(out_.size(), [&](std::size_t element) {
      return agrees(static_cast<double>(out_[element]), attended(element), keys_ + head_width_,
                    precision_);
    });
  }

 private:
  [[nodiscard]] std::size_t width() const { return heads_ * head_width_; }

  [[nodiscard]] double attended(std::size_t element) const {
    const std::size_t column = element % width();
    const std::size_t row = element / width();
    const std::size_t head = column / head_width_ * head_width_;
    const float* const query = q_.data() + row * width() + head;
    const std::size_t first = row / queries_ * keys_ * width();
    const double scale = 1 / std::sqrt(static_cast<double>(head_width_));
    double sum = 0, total = 0;  // scores are so small that exp needs no care
    for (std::size_t t = 0; t < keys_; ++t) {
      const float* const key = k_.data() + first + t * width() + head;
      double score = 0;
      for (std::size_t c = 0; c < head_width_; ++c)
        score += static_cast<double>(query[c]) * static_cast<double>(key[c]);
      const double weight = std::exp(scale * score);
      total += weight;
      sum += weight * static_cast<double>(v_[first + t * width() + column]);
    }
    return sum / total;
  }

  std::size_t sequences_, heads_, queries_, keys_, head_width_;
  Precision precision_;
  AlignedBuffer<float> q_, k_, v_, out_;
};

}  // namespace q2l::benchmarks
