// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"

namespace q2l {
namespace detail {

/// Throws non_finite_output.
inline void require_finite_logit(float logit) {
  if (!is_finite(logit)) {
    throw Error(ErrorCode::non_finite_output, "the model's answer is not a number");
  }
}

}  // namespace detail

/// sigmoid(logit) = 1 / (1 + e^-logit), a label's probability, worked out in double and rounded
/// once. Throws non_finite_output for a logit that is not a finite number.
inline float probability(float logit) {
  detail::require_finite_logit(logit);
  return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logit))));
}

}  // namespace q2l
