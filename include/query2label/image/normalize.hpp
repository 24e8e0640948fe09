// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "query2label/core/error.hpp"
#include "query2label/image/image.hpp"

namespace q2l {

/// What is subtracted from, and then divides, each channel of a picture scaled to 0..1; R, G, B.
struct PixelNormalization {
  std::array<float, 3> mean{0.0f, 0.0f, 0.0f};
  std::array<float, 3> std{1.0f, 1.0f, 1.0f};

  /// ImageNet's statistics: all backbones but TResNet.
  static constexpr PixelNormalization imagenet() {
    return {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
  }
  /// Pixels stay in 0..1: TResNet (`orid_norm` in the reference's configuration).
  static constexpr PixelNormalization unit() { return {}; }

  bool operator==(const PixelNormalization&) const = default;
};

/// Writes the picture as floats [H, W, 3], interleaved as the model reads them. Each value is
/// ((byte / 255) - mean) / std with every step rounded to f32, the bits of torchvision's ToTensor
/// and Normalize. Throws bad_argument if `out` has not exactly H x W x 3 elements, and what
/// require_valid refuses.
inline void normalize_into(const Image& image, const PixelNormalization& normalization,
                           std::span<float> out) {
  require_valid(image, "normalize_into");
  if (out.size() != image.rgb.size())
    throw Error(ErrorCode::bad_argument, "the output has the wrong size",
                {.subject = "normalize_into",
                 .expected = std::to_string(image.rgb.size()) + " floats",
                 .actual = std::to_string(out.size())});
  std::array<std::array<float, 3>, 256> value;
  for (std::size_t byte = 0; byte < 256; ++byte)
    for (std::size_t c = 0; c < 3; ++c) {
      const float scaled = static_cast<float>(byte) / 255.0f;
      value[byte][c] = (scaled - normalization.mean[c]) / normalization.std[c];
    }
  for (std::size_t i = 0; i < out.size(); i += 3) {
    out[i] = value[image.rgb[i]][0];
    out[i + 1] = value[image.rgb[i + 1]][1];
    out[i + 2] = value[image.rgb[i + 2]][2];
  }
}

}  // namespace q2l
