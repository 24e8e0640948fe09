// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"

namespace q2l::detail {

/// Throws bad_argument, about the backbone `name`, unless the sides of `image` [N, H, W, 3] are
/// multiples of `stride` and `out` is [N, H / stride, W / stride, channels].
template <class T>
void require_feature_shape(std::string_view name, std::size_t stride, std::size_t channels,
                           const FeatureMap<const T>& image, const FeatureMap<T>& out) {
  const auto check = [&](std::size_t actual, std::size_t expected, const char* what) {
    if (actual != expected) require_equal(actual, expected, std::string(name) + ": " + what);
  };
  if (image.height == 0 || image.height % stride != 0 || image.width == 0 ||
      image.width % stride != 0) {
    require_argument(false, name,
                     "the sides of the picture must be multiples of " + std::to_string(stride));
  }
  check(out.batch, image.batch, "batch of out");
  check(out.height, image.height / stride, "height of out");
  check(out.width, image.width / stride, "width of out");
  check(out.channels, channels, "channels of out");
}

}  // namespace q2l::detail
