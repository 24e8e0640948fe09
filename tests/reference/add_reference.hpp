// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>

#include "reference/estimate.hpp"

namespace q2l::test {

/// a [M, D] + b [P, D], b repeated over the rows of a, with one rounding.
struct AddReference {
  static constexpr Domain domain{0.0, 1.0};

  template <class T>
  static Estimate apply(const Estimate& a, const Estimate& b) {
    Estimate out(a.rows, a.columns);
    for (std::size_t i = 0; i < a.value.size(); ++i) {
      const std::size_t j = i % b.value.size();
      out.value[i] = a.value[i] + b.value[j];
      const double error = a.error[i] + b.error[j];
      out.error[i] = error + rounding<T> * (std::abs(out.value[i]) + error);
    }
    return out;
  }
};

}  // namespace q2l::test
