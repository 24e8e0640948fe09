// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "query2label/core/is_finite.hpp"
#include "query2label/core/layer_observer.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/weights/precision_plan.hpp"

namespace q2l {

/// What of the range that a layer's input was seen to have becomes 0 .. 255.
enum class ScaleChoice {
  min_max,             ///< all of it
  percentile,          ///< all but the outermost 0.01 % on each side
  mean_squared_error,  ///< what makes the mean squared error of rounding and cutting off least
};

/// The values a layer's input took: their least and largest, and a histogram whose range doubles as
/// larger ones come.
class InputRange {
 public:
  void add(Matrix<const float> values) {
    for (std::size_t r = 0; r < values.rows; ++r) {
      for (std::size_t c = 0; c < values.columns; ++c) add(values.row(r)[c]);
    }
  }

  [[nodiscard]] Quantization quantization(ScaleChoice choice) const {
    double low = std::min(lowest_, 0.0), high = std::max(highest_, 0.0);
    if (choice == ScaleChoice::percentile) {
      constexpr double share = 1e-4;
      low = std::max(low, std::min(0.0, quantile(share)));
      high = std::min(high, std::max(0.0, quantile(1 - share)));
    } else if (choice == ScaleChoice::mean_squared_error) {
      constexpr int steps = 64;
      double best = std::numeric_limits<double>::infinity(), factor = 1;
      for (int i = 1; i <= steps; ++i) {
        const double f = static_cast<double>(i) / steps;
        if (const double error = squared_error(f * low, f * high); error < best) {
          best = error;
          factor = f;
        }
      }
      low *= factor;
      high *= factor;
    }
    if (!(high > low)) return {};
    const double step = (high - low) / 255;
    return {static_cast<float>(step), static_cast<std::int32_t>(std::lround(-low / step))};
  }

 private:
  static constexpr std::size_t bins = 4096;

  void add(float value) {
    const auto x = static_cast<double>(value);
    if (!is_finite(x)) return;
    lowest_ = std::min(lowest_, x);
    highest_ = std::max(highest_, x);
    while (std::abs(x) >= limit_) widen();
    const double place = (x / limit_ + 1) / 2 * static_cast<double>(bins);
    ++counts_[std::min(bins - 1, static_cast<std::size_t>(place))];
    ++total_;
  }

  /// Doubles the range; two neighbours become one.
  void widen() {
    std::vector<std::uint64_t> wide(bins, 0);
    for (std::size_t i = 0; i < bins; ++i) wide[bins / 4 + i / 2] += counts_[i];
    counts_ = std::move(wide);
    limit_ *= 2;
  }

  [[nodiscard]] double centre(std::size_t bin) const noexcept {
    return ((static_cast<double>(bin) + 0.5) / static_cast<double>(bins) * 2 - 1) * limit_;
  }
  [[nodiscard]] double quantile(double share) const noexcept {
    const double wanted = share * static_cast<double>(total_);
    double seen = 0;
    for (std::size_t i = 0; i < bins; ++i) {
      seen += static_cast<double>(counts_[i]);
      if (seen >= wanted) return centre(i);
    }
    return highest_;
  }
  /// Of rounding to 256 steps between `low` and `high` and cutting off the rest, summed.
  [[nodiscard]] double squared_error(double low, double high) const noexcept {
    const double step = (high - low) / 255;
    double sum = 0;
    for (std::size_t i = 0; i < bins; ++i) {
      if (counts_[i] == 0) continue;
      const double x = centre(i);
      const double cut = x - std::clamp(x, low, high);
      sum += static_cast<double>(counts_[i]) * (cut * cut + step * step / 12);
    }
    return sum;
  }

  double lowest_ = std::numeric_limits<double>::infinity();
  double highest_ = -std::numeric_limits<double>::infinity();
  double limit_ = 1.0 / 1024;
  std::uint64_t total_ = 0;
  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(bins, 0);
};

/// Collects the range of every layer's input while a model runs on pictures of the kind it is for.
class Calibration final : public LayerObserver {
 public:
  void observe(std::string_view layer, Matrix<const float> in, Matrix<const float>) override {
    ranges_[std::string(layer)].add(in);
  }

  /// int8 for every layer seen.
  [[nodiscard]] PrecisionPlan plan(ScaleChoice choice) const {
    PrecisionPlan plan(Precision::int8);
    for (const auto& [layer, range] : ranges_) plan.set_input(layer, range.quantization(choice));
    return plan;
  }

 private:
  std::map<std::string, InputRange> ranges_;
};

/// How much one layer in int8, all others in f32, changes the model's logits.
struct LayerDamage {
  std::string layer;
  double error = 0;  ///< of `relative_error`
};

/// rms(changed - logits) / std(logits); infinite where that is no number (overflown logits, or a
/// change of logits that are all the same).
template <class T>
double relative_error(const std::vector<T>& changed, const std::vector<T>& logits) {
  const auto count = static_cast<double>(logits.size());
  double mean = 0, variance = 0, differences = 0;
  for (const T logit : logits) mean += static_cast<double>(logit) / count;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto x = static_cast<double>(logits[i]);
    const double d = static_cast<double>(changed[i]) - x;
    variance += (x - mean) * (x - mean) / count;
    differences += d * d / count;
  }
  if (differences == 0) return 0;
  const double error = std::sqrt(differences / variance);
  return is_finite(error) ? error : std::numeric_limits<double>::infinity();
}

/// The damage of every layer of `plan`, least first. `answer(plan)` loads the model with that plan
/// and gives its logits for the same pictures each time.
inline std::vector<LayerDamage> measure_damage(
    const PrecisionPlan& plan,
    const std::function<std::vector<float>(const PrecisionPlan&)>& answer) {
  const std::vector<float> logits = answer(PrecisionPlan(Precision::f32));
  std::vector<LayerDamage> out;
  for (const auto& [layer, input] : plan.inputs()) {
    PrecisionPlan one(Precision::f32);
    one.set_input(layer, input);
    one.except(layer, Precision::int8);
    out.push_back({layer, relative_error(answer(one), logits)});
  }
  std::ranges::sort(out, {}, [](const LayerDamage& damage) {
    return std::tie(damage.error, damage.layer);
  });
  return out;
}

/// Leaves in int8 the layers whose damages, taken as independent, come to at most `budget`
/// together; the others become bf16.
inline void keep_within(PrecisionPlan& plan, const std::vector<LayerDamage>& damages,
                        double budget) {
  double squares = 0;
  for (const LayerDamage& damage : damages) {
    squares += damage.error * damage.error;
    if (squares > budget * budget) plan.except(damage.layer, Precision::bf16);
  }
}

}  // namespace q2l
