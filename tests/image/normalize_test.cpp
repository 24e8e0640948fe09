// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <span>
#include <vector>

#include "query2label/core/crc32.hpp"
#include "query2label/image/preprocess.hpp"
#include "support/error_of.hpp"

using namespace q2l;

namespace {

/// 256 pixels, grey 0 to 255.
Image gray_ramp() {
  Image image{256, 1, {}};
  for (int level = 0; level < 256; ++level)
    image.rgb.insert(image.rgb.end(), 3, static_cast<std::uint8_t>(level));
  return image;
}

std::vector<float> normalized(const Image& image, const PixelNormalization& normalization) {
  std::vector<float> out(image.rgb.size());
  normalize_into(image, normalization, out);
  return out;
}

std::uint32_t checksum(const std::vector<float>& values) {
  return crc32(std::as_bytes(std::span(values)));
}

}  // namespace

TEST_CASE("Normalised pixels have the bits that PyTorch gives", "[image]") {
  // ToTensor and Normalize of torchvision over the same ramp, as little-endian f32 in HWC order.
  const auto imagenet = normalized(gray_ramp(), PixelNormalization::imagenet());
  CHECK(imagenet[3] == -0x1.0ce656p+1f);
  CHECK(imagenet[4] == -0x1.02549ep+1f);
  CHECK(imagenet[5] == -0x1.c979d4p+0f);
  CHECK(checksum(imagenet) == 3943595040u);
  const auto unit = normalized(gray_ramp(), PixelNormalization::unit());
  CHECK(unit[600] == 0x1.919192p-1f);
  CHECK(checksum(unit) == 1505947453u);
}

TEST_CASE("Preprocessing resizes without keeping the aspect ratio, then normalises", "[image]") {
  const Image image = gray_ramp();
  std::vector<float> out(7 * 7 * 3);
  preprocess_into(image, 7, PixelNormalization::imagenet(), out);
  CHECK(out == normalized(resize_bilinear(image, 7, 7), PixelNormalization::imagenet()));
}

TEST_CASE("Preprocessing refuses an output of the wrong size", "[image]") {
  std::vector<float> out(7 * 7 * 3 + 1);
  const Error error = test::error_of([&] { preprocess_into(gray_ramp(), 7, {}, out); });
  CHECK(error.code() == ErrorCode::bad_argument);
  CHECK(error.place().subject == "normalize_into");
  CHECK(error.place().expected == "147 floats");
  CHECK(error.place().actual == "148");
  CHECK(test::error_of([&] { preprocess_into(gray_ramp(), 0, {}, {}); }).code() ==
        ErrorCode::bad_argument);
}
