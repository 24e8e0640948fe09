// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "reference/estimate.hpp"
#include "support/recipe.hpp"

namespace q2l::test {

/// What an arithmetic may round, as relative errors: each factor of a product, each weight before
/// it multiplies the values, each result. Sums are f32 in all of them.
struct AttentionRounding {
  double factor = 0.0;
  double weight = 0.0;
  double result = 0.0;
};
inline constexpr AttentionRounding f32_rounding{};
inline constexpr AttentionRounding tf32_rounding{0x1p-11, 0x1p-11, 0.0};
inline constexpr AttentionRounding f16_rounding{0.0, 0x1p-11, 0x1p-11};
inline constexpr AttentionRounding bf16_rounding{0.0, 0x1p-8, 0x1p-8};

/// Extents of an attention and what images and heads share.
struct AttentionExtents {
  int batch = 1, heads = 1, queries = 1, tokens = 1, width = 16;
  bool has_shared_queries = false;  ///< by all images
  bool has_shared_keys = false;     ///< keys and values, by all heads
};

/// Rows [images, rows, heads, width] with NaN after the heads of each row.
struct AttentionOperand {
  int images, rows, heads, width;
  int stride = heads * width + 16;
  std::vector<float> values =
      std::vector<float>(static_cast<std::size_t>(images) * static_cast<std::size_t>(rows * stride),
                         std::numeric_limits<float>::quiet_NaN());

  /// The `width` elements of a row; an operand of one image or head is shared by all.
  [[nodiscard]] float* at(int image, int head, int row) {
    return values.data() + offset(image, head, row);
  }
  [[nodiscard]] const float* at(int image, int head, int row) const {
    return values.data() + offset(image, head, row);
  }
  [[nodiscard]] std::ptrdiff_t offset(int image, int head, int row) const {
    return std::ptrdiff_t{image % images * rows + row} * stride + head % heads * width;
  }
  [[nodiscard]] std::int64_t batch_stride() const {
    return images == 1 ? 0 : std::int64_t{rows} * stride;
  }
  [[nodiscard]] std::int64_t head_stride() const { return heads == 1 ? 0 : width; }

  /// Fills the elements, not what lies between, from the recipe, scaled by `magnitude`.
  void fill_from(const char* name, double magnitude, std::uint64_t seed) {
    const auto line = static_cast<std::size_t>(heads * width);
    const std::vector<float> recipe =
        fill(name, static_cast<std::size_t>(images * rows) * line, 0.0, magnitude, seed);
    for (std::size_t i = 0; i < recipe.size(); ++i) {
      values[i / line * static_cast<std::size_t>(stride) + i % line] = recipe[i];
    }
  }
};

/// What an attention gave, as f32: out [N A K, w], and maps [N A K, T] if asked.
struct AttentionOutcome {
  std::vector<float> out;
  std::vector<float> maps;
};

/// Operands of an attention and what it must give.
struct AttentionExample {
  AttentionExtents extents;
  double magnitude = 1.0;  ///< of queries and keys
  float scale = 0.25f;
  AttentionOperand q{extents.has_shared_queries ? 1 : extents.batch, extents.queries, extents.heads,
                     extents.width};
  AttentionOperand k{extents.batch, extents.tokens, extents.has_shared_keys ? 1 : extents.heads,
                     extents.width};
  AttentionOperand v = k;

  explicit AttentionExample(const AttentionExtents& e, double magnitude_ = 1.0,
                            float scale_ = 0.25f)
      : extents(e), magnitude(magnitude_), scale(scale_) {
    q.fill_from("q", magnitude, 1);
    k.fill_from("k", magnitude, 2);
    v.fill_from("v", 1.0, 3);
  }

  /// Rounds all operands to what an arithmetic stores.
  template <class Round>
  void round(Round&& round_one) {
    for (AttentionOperand* operand : {&q, &k, &v}) {
      for (float& value : operand->values) value = round_one(value);
    }
  }

  /// Every key of a head becomes its first, so that all weights are equal.
  void repeat_first_key() {
    for (int image = 0; image < k.images; ++image) {
      for (int head = 0; head < k.heads; ++head) {
        for (int t = 1; t < k.rows; ++t) {
          std::copy_n(k.at(image, head, 0), k.width, k.at(image, head, t));
        }
      }
    }
  }

  /// Scores, hundreds to thousands in size, that grow by 512 from key to key, or fall where `step`
  /// is negative. For one image and head and a scale of 1.
  void spread_scores(float step = 512.0f) {
    for (int t = 0; t < k.rows; ++t) {
      std::fill_n(k.at(0, 0, t), k.width, 0.0f);
      k.at(0, 0, t)[0] = step * static_cast<float>(t - k.rows / 2);
    }
    for (int i = 0; i < q.rows; ++i) q.at(0, 0, i)[0] = 1.0f;
  }

  [[nodiscard]] std::size_t rows() const {
    return static_cast<std::size_t>(extents.batch) * static_cast<std::size_t>(extents.heads) *
           static_cast<std::size_t>(extents.queries);
  }

  struct Result {
    Estimate out;   ///< [N A K, w]
    Estimate maps;  ///< [N A K, T]
  };

  /// In double, with the bounds of cross_attention.cuh's docstring on every element.
  [[nodiscard]] Result expected(const AttentionRounding& rounding) const {
    constexpr double unit = 0x1p-24;  // of f32
    const AttentionExtents& e = extents;
    const auto width = static_cast<std::size_t>(e.width);
    const auto tokens = static_cast<std::size_t>(e.tokens);
    Result result{Estimate(rows(), width), Estimate(rows(), tokens)};
    std::vector<double> weights(tokens), errors(tokens);
    for (std::size_t r = 0; r < rows(); ++r) {
      const int query = static_cast<int>(r) % e.queries;
      const int head = static_cast<int>(r) / e.queries % e.heads;
      const int image = static_cast<int>(r) / e.queries / e.heads;
      double max = -std::numeric_limits<double>::infinity();
      for (std::size_t t = 0; t < tokens; ++t) {
        double score = 0.0, size = 0.0;
        for (std::size_t c = 0; c < width; ++c) {
          const double product = static_cast<double>(q.at(image, head, query)[c]) *
                                 static_cast<double>(k.at(image, head, static_cast<int>(t))[c]);
          score += product;
          size += std::abs(product);
        }
        weights[t] = score * static_cast<double>(scale);
        errors[t] = size * std::abs(static_cast<double>(scale)) *
                    (2.0 * rounding.factor + static_cast<double>(width + 8) * unit);
        max = std::max(max, weights[t]);
      }
      double sum = 0.0, mean_error = 0.0;
      for (std::size_t t = 0; t < tokens; ++t) {
        errors[t] += 4.0 * unit * (std::abs(weights[t]) + std::abs(weights[t] - max));
        weights[t] = std::exp(weights[t] - max);
        sum += weights[t];
        mean_error += weights[t] * std::expm1(errors[t]);
      }
      for (std::size_t t = 0; t < tokens; ++t) {
        weights[t] /= sum;
        errors[t] = weights[t] * (std::expm1(errors[t]) + mean_error / sum +
                                  static_cast<double>(tokens + 16) * 2.0 * unit) +
                    std::numeric_limits<float>::min();
        result.maps.value[r * tokens + t] = weights[t];
        result.maps.error[r * tokens + t] = errors[t];
      }
      for (std::size_t c = 0; c < width; ++c) {
        double value = 0.0, error = 0.0;
        for (std::size_t t = 0; t < tokens; ++t) {
          const auto v_t = static_cast<double>(v.at(image, head, static_cast<int>(t))[c]);
          value += weights[t] * v_t;
          error += std::abs(v_t) *
                   (errors[t] + weights[t] * (rounding.weight + rounding.factor +
                                              static_cast<double>(tokens + 16) * 2.0 * unit));
          error +=
              std::abs(v_t) * (rounding.weight == 0x1p-11 ? 0x1p-25 / sum : 0.0);  // f16 denormals
        }
        result.out.value[r * width + c] = value;
        result.out.error[r * width + c] =
            error + rounding.result * (std::abs(value) + error) + std::numeric_limits<float>::min();
      }
    }
    return result;
  }
};

}  // namespace q2l::test
