// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <query2label/core/tensor.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// True if `actual` is `expected` up to an absolute `error`. A NaN or infinity is close only to
/// itself; an error that is no finite number admits nothing.
inline bool is_close(double actual, double expected, double error) noexcept {
  if (!std::isfinite(error) || error < 0.0) return false;
  if (std::isnan(expected)) return std::isnan(actual);
  if (std::isinf(expected) || std::isinf(actual)) return actual == expected;
  return std::abs(actual - expected) <= error;  // false for a NaN
}

/// Empty if every element of `actual` is close to `expected`; else says how many are not, and
/// shows the first. Tests require it to be "".
template <class T>
std::string differences(Matrix<const T> actual, const Estimate& expected) {
  std::ostringstream out;
  out.precision(17);
  if (actual.rows != expected.rows || actual.columns != expected.columns) {
    out << "shape [" << actual.rows << ", " << actual.columns << "], expected [" << expected.rows
        << ", " << expected.columns << "]";
    return out.str();
  }
  std::size_t count = 0;
  for (std::size_t r = 0; r < actual.rows; ++r) {
    for (std::size_t c = 0; c < actual.columns; ++c) {
      const double value = static_cast<double>(actual.row(r)[c]);
      const std::size_t i = expected.at(r, c);
      if (is_close(value, expected.value[i], expected.error[i]) || count++ > 0) continue;
      out << "element (" << r << ", " << c << ") is " << value << ", expected " << expected.value[i]
          << " within " << expected.error[i];
    }
  }
  if (count > 1) out << " (and " << count - 1 << " more)";
  return out.str();
}

template <class T>
std::string differences(Matrix<T> actual, const Estimate& expected) {
  return differences(Matrix<const T>(actual), expected);
}

/// True if both hold the same bits: tells -0 from 0 and one NaN from another.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) noexcept {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace q2l::test
