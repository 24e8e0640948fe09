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

/// Bytes that a pixel has at least.
constexpr std::size_t channel_count(ChannelOrder order) noexcept {
  if (order == ChannelOrder::gray) return 1;
  return order == ChannelOrder::rgba || order == ChannelOrder::bgra ? 4 : 3;
}

/// Pixels that belong to the host, 8 bit a channel. Strides are in bytes; negative ones read
/// backwards, 0 means that pixels or rows follow each other without a gap. A fourth channel that
/// means nothing (BGRX) is passed over: `bgr` with a pixel stride of 4.
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
/// Throws bad_argument for a null pointer, a side below 1 or a pixel stride that is shorter than a
/// pixel; out_of_memory.
inline Image to_rgb(ImageView view, Color background = white) {
  if (view.pixels == nullptr || view.width < 1 || view.height < 1)
    throw Error(ErrorCode::bad_argument, "a view needs pixels and sides of at least 1",
                {.subject = "ImageView",
                 .actual = std::to_string(view.width) + " x " + std::to_string(view.height)});
  const auto channels = static_cast<std::ptrdiff_t>(channel_count(view.order));
  if (view.pixel_stride == 0) view.pixel_stride = channels;
  if (view.pixel_stride > -channels && view.pixel_stride < channels)
    throw Error(ErrorCode::bad_argument, "pixels that overlap",
                {.subject = "ImageView::pixel_stride",
                 .expected = "0, or at least " + std::to_string(channels) + " bytes",
                 .actual = std::to_string(view.pixel_stride)});
  if (view.row_stride == 0) view.row_stride = view.width * view.pixel_stride;
  const auto gather = [&](std::array<int, 3> place, int alpha) {
    return with_memory_error("no memory to copy the picture", "",
                             [&] { return detail::gather_rgb(view, place, alpha, background); });
  };
  switch (view.order) {
    case ChannelOrder::rgb:
      return gather({0, 1, 2}, -1);
    case ChannelOrder::bgr:
      return gather({2, 1, 0}, -1);
    case ChannelOrder::rgba:
      return gather({0, 1, 2}, 3);
    case ChannelOrder::bgra:
      return gather({2, 1, 0}, 3);
    case ChannelOrder::gray:
      return gather({0, 0, 0}, -1);
  }
  throw Error(ErrorCode::bad_argument, "unknown channel order", {.subject = "ImageView::order"});
}

}  // namespace q2l
