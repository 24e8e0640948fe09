// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "query2label/image/image.hpp"
#include "query2label/image/normalize.hpp"
#include "query2label/image/resize.hpp"

namespace q2l {

/// From a picture of any size to the model's input [side, side, 3]: resized without keeping the
/// aspect ratio and without a crop, as in training, then normalised. Throws bad_argument for a side
/// below 1, an `out` of another size than side x side x 3 and what require_valid refuses.
inline void preprocess_into(const Image& image, int side, const PixelNormalization& normalization,
                            std::span<float> out) {
  normalize_into(resize_bilinear(image, side, side), normalization, out);
}

}  // namespace q2l
