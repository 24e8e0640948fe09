// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <limits>
#include <query2label/core/tensor.hpp>
#include <utility>
#include <vector>

// The references of this folder compute in double what the library computes in T, in the plainest
// way, and bound the error of every element as they go: each takes the errors of its operands and
// adds what the operation itself may round. A tolerance is thus derived from depth and epsilon, as
// the operation's docstring states it, and follows an operand through whole layers.

namespace q2l::test {

/// Values of one magnitude, from which the inputs of an operation's tests are drawn.
struct Domain {
  double center = 0.0;
  double radius = 1.0;
};

/// [rows, columns] values, row-major, each with a bound on how far the tested result may be off.
struct Estimate {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<double> value;
  std::vector<double> error;

  Estimate() = default;
  Estimate(std::size_t rows_, std::size_t columns_)
      : rows(rows_), columns(columns_), value(rows_ * columns_), error(rows_ * columns_) {}

  /// An operand: values known exactly.
  template <class Value>
  Estimate(std::size_t rows_, std::size_t columns_, const std::vector<Value>& values)
      : Estimate(rows_, columns_) {
    value.assign(values.begin(), values.end());
  }

  [[nodiscard]] bool empty() const noexcept { return value.empty(); }
  [[nodiscard]] std::size_t at(std::size_t r, std::size_t c) const noexcept {
    return r * columns + c;
  }

  [[nodiscard]] Estimate row_range(std::size_t first, std::size_t count) const {
    Estimate out(count, columns);
    for (std::size_t i = 0; i < count * columns; ++i) {
      out.value[i] = value[first * columns + i];
      out.error[i] = error[first * columns + i];
    }
    return out;
  }

  /// The same values with every error `factor` times as large.
  [[nodiscard]] Estimate widened(double factor) const {
    Estimate out = *this;
    for (double& e : out.error) e *= factor;
    return out;
  }
};

/// Relative error of one rounding in T, counted twice: machine epsilon is two units of roundoff,
/// and the reference rounds too.
template <class T>
constexpr double rounding = static_cast<double>(std::numeric_limits<T>::epsilon());

}  // namespace q2l::test
