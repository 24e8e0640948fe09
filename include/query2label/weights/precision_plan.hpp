// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "query2label/core/precision.hpp"

namespace q2l {

/// In which precision each layer of a model computes: one for all, exceptions by name, and for int8
/// what calibration found of each layer's input.
class PrecisionPlan {
 public:
  PrecisionPlan() = default;
  explicit PrecisionPlan(Precision all) : all_(all) {}

  /// What layers have that are no exception.
  [[nodiscard]] Precision all() const noexcept { return all_; }
  [[nodiscard]] const std::map<std::string, Precision, std::less<>>& exceptions() const noexcept {
    return exceptions_;
  }
  [[nodiscard]] const std::map<std::string, Quantization, std::less<>>& inputs() const noexcept {
    return inputs_;
  }
  void except(std::string layer, Precision precision) {
    exceptions_.insert_or_assign(std::move(layer), precision);
  }
  void set_input(std::string layer, Quantization input) {
    inputs_.insert_or_assign(std::move(layer), input);
  }

  /// A layer that was to be int8 but was not calibrated (it never ran) is bf16.
  [[nodiscard]] ProductSettings settings(std::string_view layer) const {
    ProductSettings out{std::string(layer), all_, {}};
    if (const auto at = exceptions_.find(layer); at != exceptions_.end())
      out.precision = at->second;
    if (const auto at = inputs_.find(layer); at != inputs_.end()) {
      out.input = at->second;
    } else if (out.precision == Precision::int8) {
      out.precision = Precision::bf16;
    }
    return out;
  }

 private:
  Precision all_ = Precision::f32;
  std::map<std::string, Precision, std::less<>> exceptions_;
  std::map<std::string, Quantization, std::less<>> inputs_;
};

}  // namespace q2l
