// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "query2label/image/image.hpp"
#include "query2label/image/image_bytes.hpp"

namespace q2l {

/// The orientation (1..8) that an EXIF block, a TIFF structure, states in its first directory;
/// 1, upright, if it states none or is damaged. Tag 0x0112, EXIF 2.32, 4.6.4.
inline int exif_orientation(std::span<const std::byte> tiff) {
  constexpr std::uint32_t orientation_tag = 0x0112, type_short = 3, type_long = 4;
  const detail::ImageBytes field(tiff);
  const bool little = field.has(0, "II");
  if (!little && !field.has(0, "MM")) return 1;
  const auto u16 = [&](std::size_t at) { return little ? field.le16(at) : field.be16(at); };
  const auto u32 = [&](std::size_t at) { return little ? field.le32(at) : field.be32(at); };
  try {
    if (u16(2) != 42) return 1;
    const std::size_t directory = u32(4);
    const std::size_t entries = u16(directory);
    for (std::size_t i = 0; i < entries; ++i) {
      const std::size_t entry = directory + 2 + 12 * i;
      if (u16(entry) != orientation_tag) continue;
      // A short is what the standard asks for; some writers have a long, which readers honour.
      const std::uint32_t type = u16(entry + 2);
      const std::uint32_t value = type == type_short  ? u16(entry + 8)
                                  : type == type_long ? u32(entry + 8)
                                                      : 0;
      return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
  } catch (const Error&) {
    return 1;
  }
  return 1;
}

/// The picture turned and mirrored so that it is seen upright; 1 leaves it as it is.
/// Throws bad_argument for an orientation outside 1..8 and what require_valid refuses.
inline Image apply_orientation(Image image, int orientation) {
  if (orientation < 1 || orientation > 8)
    throw Error(ErrorCode::bad_argument, "an orientation is 1..8",
                {.subject = "orientation", .actual = std::to_string(orientation)});
  require_valid(image, "apply_orientation");
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5;
  const auto width = static_cast<std::ptrdiff_t>(image.width);
  const auto height = static_cast<std::ptrdiff_t>(image.height);
  // Where the result's top left pixel lies in the source, and the steps along its rows and columns.
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const std::ptrdiff_t x_step = from_right ? -3 : 3;
  const std::ptrdiff_t y_step = (from_bottom ? -3 : 3) * width;
  const std::ptrdiff_t start =
      ((from_bottom ? height - 1 : 0) * width + (from_right ? width - 1 : 0)) * 3;
  return to_rgb({.pixels = image.rgb.data() + start,
                 .width = transposed ? image.height : image.width,
                 .height = transposed ? image.width : image.height,
                 .row_stride = transposed ? x_step : y_step,
                 .pixel_stride = transposed ? y_step : x_step,
                 .order = ChannelOrder::rgb});
}

}  // namespace q2l
