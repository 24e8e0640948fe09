// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "query2label/image/image.hpp"
#include "query2label/image/normalize.hpp"
#include "query2label/image/resize.hpp"

namespace q2l {

/// From a picture of any size to the model's input [side, side, 3]: resized without keeping the
/// aspect ratio and without a crop, as in training, then normalised. Throws bad_argument for a side
/// below 1, an `out` of another size than side x side x 3 and what require_valid refuses;
/// out_of_memory.
inline void preprocess_into(const Image& image, std::size_t side,
                            const PixelNormalization& normalization, std::span<float> out) {
  constexpr std::size_t largest = std::numeric_limits<int>::max();
  const int pixels = static_cast<int>(std::min(side, largest));
  normalize_into(resize_bilinear(image, pixels, pixels), normalization, out);
}

}  // namespace q2l
