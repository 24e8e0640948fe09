// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace q2l::test {

/// The larger of two errors, where one that is not a number is the largest of all.
inline double worst(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::infinity();
  return a > b ? a : b;
}

/// What a check of one golden file found.
struct GoldenReport {
  struct Quantity {
    std::string name;
    double error;  ///< largest absolute error
    double bound;
  };
  std::vector<Quantity> quantities;

  void add(std::string name, double error, double bound) {
    quantities.push_back({std::move(name), error, bound});
  }
  /// True when something was compared and every error is a number within its bound.
  [[nodiscard]] bool ok() const {
    for (const Quantity& q : quantities) {
      if (!(q.error <= q.bound)) return false;
    }
    return !quantities.empty();
  }
};

}  // namespace q2l::test
