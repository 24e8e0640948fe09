// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "query2label/weights/weight_map.hpp"

// Sizes of a model read off the names and shapes of its tensors.

namespace q2l {

/// Extent `dimension` of the tensor `name`; 0 where there is no such tensor or dimension.
inline std::size_t tensor_extent(const WeightMap& weights, std::string_view name,
                                 std::size_t dimension) {
  if (!weights.contains(name)) return 0;
  const WeightMap::Shape& shape = weights.shape(name);
  return dimension < shape.size() ? static_cast<std::size_t>(shape[dimension]) : 0;
}

/// How many of the tensors `prefix` 0 `suffix`, `prefix` 1 `suffix`, ... there are without a gap.
inline std::size_t count_numbered(const WeightMap& weights, const std::string& prefix,
                                  const std::string& suffix) {
  std::size_t count = 0;
  while (weights.contains(prefix + std::to_string(count) + suffix)) ++count;
  return count;
}

}  // namespace q2l
