// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/error.hpp"

namespace q2l {

/// An owned picture: rows from top to bottom, interleaved R, G, B, 8 bit each, no padding.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  ///< height x width x 3

  bool operator==(const Image&) const = default;
};

/// Throws bad_argument, about `subject`, for an empty picture and one whose pixels are not width x
/// height.
inline void require_valid(const Image& image, std::string_view subject) {
  const std::string size = std::to_string(image.width) + " x " + std::to_string(image.height);
  if (image.width < 1 || image.height < 1)
    throw Error(ErrorCode::bad_argument, "a picture needs sides of at least 1",
                {.subject = std::string(subject), .actual = size});
  const std::size_t bytes =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
  if (image.rgb.size() != bytes)
    throw Error(ErrorCode::bad_argument, "a picture's pixels do not fill its " + size,
                {.subject = std::string(subject),
                 .expected = std::to_string(bytes) + " bytes",
                 .actual = std::to_string(image.rgb.size())});
}

/// How the bytes of one pixel are to be read.
enum class ChannelOrder { rgb, bgr, rgba, bgra, gray };

/// Pixels that belong to the host, 8 bit a channel. Strides are in bytes; a negative row stride
/// reads upwards.
struct ImageView {
  const std::uint8_t* pixels = nullptr;  ///< the first byte of the top left pixel
  int width = 0;
  int height = 0;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t pixel_stride = 0;
  ChannelOrder order = ChannelOrder::rgb;
};

/// The colour shown through transparent pixels: R, G, B.
using Color = std::array<std::uint8_t, 3>;
inline constexpr Color white{255, 255, 255};

namespace detail {

/// `over` with straight (not premultiplied) opacity `alpha` of 255 on top of `under`, rounded to
/// nearest.
constexpr std::uint8_t blend(unsigned over, unsigned under, unsigned alpha) noexcept {
  return static_cast<std::uint8_t>((over * alpha + under * (255u - alpha) + 127u) / 255u);
}

/// Copies to RGB the channels at the given places of each pixel; `alpha < 0` means opaque.
inline Image gather_rgb(const ImageView& view, std::array<int, 3> place, int alpha,
                        Color background) {
  const auto width = static_cast<std::size_t>(view.width);
  const auto height = static_cast<std::size_t>(view.height);
  Image image{view.width, view.height, std::vector<std::uint8_t>(width * height * 3)};
  std::uint8_t* out = image.rgb.data();
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* row = view.pixels + static_cast<std::ptrdiff_t>(y) * view.row_stride;
    for (std::size_t x = 0; x < width; ++x, out += 3) {
      const std::uint8_t* pixel = row + static_cast<std::ptrdiff_t>(x) * view.pixel_stride;
      for (std::size_t c = 0; c < 3; ++c)
        out[c] = alpha < 0 ? pixel[place[c]] : blend(pixel[place[c]], background[c], pixel[alpha]);
    }
  }
  return image;
}

}  // namespace detail

/// A copy of the host's pixels as an Image, transparency composited on `background`.
/// Throws bad_argument for a null pointer or a side below 1.
inline Image to_rgb(const ImageView& view, Color background = white) {
  if (view.pixels == nullptr || view.width < 1 || view.height < 1)
    throw Error(ErrorCode::bad_argument, "a view needs pixels and sides of at least 1",
                {.subject = "ImageView",
                 .actual = std::to_string(view.width) + " x " + std::to_string(view.height)});
  switch (view.order) {
    case ChannelOrder::rgb:
      return detail::gather_rgb(view, {0, 1, 2}, -1, background);
    case ChannelOrder::bgr:
      return detail::gather_rgb(view, {2, 1, 0}, -1, background);
    case ChannelOrder::rgba:
      return detail::gather_rgb(view, {0, 1, 2}, 3, background);
    case ChannelOrder::bgra:
      return detail::gather_rgb(view, {2, 1, 0}, 3, background);
    case ChannelOrder::gray:
      return detail::gather_rgb(view, {0, 0, 0}, -1, background);
  }
  throw Error(ErrorCode::bad_argument, "unknown channel order", {.subject = "ImageView::order"});
}

}  // namespace q2l
