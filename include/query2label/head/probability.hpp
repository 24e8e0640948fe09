// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <string>

#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"

namespace q2l {

/// sigmoid(logit) = 1 / (1 + e^-logit), a label's probability, worked out in double and rounded
/// once. Throws non_finite_output for a logit that is not a finite number.
inline float probability(float logit) {
  if (!is_finite(logit)) {
    throw Error(ErrorCode::non_finite_output, "a logit is not a number",
                {.actual = std::to_string(logit)});
  }
  return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logit))));
}

}  // namespace q2l
