// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// The sine position code of a grid (DETR, arXiv 2005.12872, normalised): [H W, D], of which the
/// first D/2 features code y and the others x. A position p of 1..H is 2 pi p / (H + 1e-6); feature
/// pair j has the frequency 10000^(-2j / (D/2)), sine first, cosine second.
template <class T>
class PositionEncoding {
 public:
  PositionEncoding() = default;

  /// Throws Error bad_argument unless D is a multiple of 4.
  PositionEncoding(std::size_t height, std::size_t width, std::size_t features)
      : height_(height), width_(width), features_(features), code_(height * width * features) {
    require_argument(features % 4 == 0, "PositionEncoding", "the width must be a multiple of 4");
    const std::size_t half = features / 2;
    for (std::size_t i = 0; i < half; i += 2) {
      const double period = std::pow(10000.0, static_cast<double>(i) / static_cast<double>(half));
      for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) {
          T* const token = code_.data() + (y * width + x) * features;
          write_pair(y, height, period, token + i);
          write_pair(x, width, period, token + half + i);
        }
      }
    }
  }

  [[nodiscard]] std::size_t height() const noexcept { return height_; }
  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  [[nodiscard]] Matrix<const T> matrix() const noexcept {
    return {code_.data(), height_ * width_, features_};
  }

 private:
  static void write_pair(std::size_t index, std::size_t extent, double period, T* out) noexcept {
    const double position = static_cast<double>(index + 1) / (static_cast<double>(extent) + 1e-6);
    const double angle = position * 2.0 * std::numbers::pi / period;
    out[0] = static_cast<T>(std::sin(angle));
    out[1] = static_cast<T>(std::cos(angle));
  }

  std::size_t height_ = 0;
  std::size_t width_ = 0;
  std::size_t features_ = 0;
  AlignedBuffer<T> code_;
};

/// Checkpoints store the code of their grid as `name` [1, D, H, W], though models compute it: marks
/// it as used if it is there. Throws Error bad_weights where it is not that code (a learned one,
/// say), shape_mismatch, non_finite.
template <class T>
void require_sine_code(WeightMap& weights, const std::string& name) {
  if (!weights.contains(name)) return;
  if (weights.source().packed) return weights.ignore(name);  // was looked at when it was packed
  const WeightMap::Shape shape = weights.shape(name);
  const auto extent = [&](std::size_t d) { return static_cast<std::size_t>(shape.at(d)); };
  if (shape.size() != 4 || shape[0] != 1 || shape[1] % 4 != 0) {
    throw Error(ErrorCode::shape_mismatch, "not a position code",
                {.subject = name, .expected = "[1, D, H, W]", .actual = shape_text(shape)});
  }
  constexpr double bound = 0.01;  // bf16 rounds values of up to 1 by 0.002
  const SharedBuffer<T> stored = weights.take<T>(name, shape);
  const PositionEncoding<T> code(extent(2), extent(3), extent(1));
  const Matrix<const T> computed = code.matrix();
  for (std::size_t d = 0; d < computed.columns; ++d) {
    for (std::size_t t = 0; t < computed.rows; ++t) {
      const double value = static_cast<double>(stored.data()[d * computed.rows + t]);
      if (std::abs(value - static_cast<double>(computed.row(t)[d])) <= bound) continue;
      throw Error(ErrorCode::bad_weights, "this is not the sine position code",
                  {.subject = name,
                   .expected = std::to_string(computed.row(t)[d]),
                   .actual = std::to_string(value)});
    }
  }
}

}  // namespace q2l
