// SPDX-License-Identifier: MIT
#pragma once

#include "query2label/core/counter_random.hpp"

namespace q2l::test {

/// The tensor `name` of a golden file's recipe, `count` elements in row-major order.
inline std::vector<float> fill(std::string_view name, std::size_t count, double offset,
                               double scale, std::uint64_t seed) {
  return counter_random(name, count, offset, scale, seed);
}

}  // namespace q2l::test
