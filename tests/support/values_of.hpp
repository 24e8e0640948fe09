// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

namespace q2l::test {

/// The same values in another type: the recipe's floats as the weights of a layer in T.
template <class T>
std::vector<T> values_of(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

}  // namespace q2l::test
