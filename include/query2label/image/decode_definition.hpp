// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/separate_compilation.hpp"
#include "query2label/image/bmp_structure.hpp"
#include "query2label/image/decode.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/image_kind.hpp"
#include "query2label/image/jpeg_structure.hpp"
#include "query2label/image/orientation.hpp"
#include "query2label/image/png_structure.hpp"
#include "query2label/image/stb_decoder.hpp"

namespace q2l {
namespace detail {

using Pieces = std::span<const std::span<const std::byte>>;

inline Image decode_pieces(Pieces pieces, bool transparent, std::uint64_t budget,
                           Color background) {
  const int channels = transparent ? 4 : 3;
  const DecodedPixels decoded = decode_with_stb(pieces, channels, budget + decoder_slack_bytes);
  return to_rgb({.pixels = decoded.samples.get(),
                 .width = decoded.width,
                 .height = decoded.height,
                 .row_stride = static_cast<std::ptrdiff_t>(decoded.width) * channels,
                 .pixel_stride = channels,
                 .order = transparent ? ChannelOrder::rgba : ChannelOrder::rgb},
                background);
}

inline Image decode_jpeg(std::span<const std::byte> bytes, const JpegStructure& structure,
                         Color background) {
  constexpr std::array end_of_image{std::byte{0xFF}, std::byte{0xD9}};
  const std::array<std::span<const std::byte>, 2> pieces{bytes.first(structure.usable_bytes),
                                                         end_of_image};
  return decode_pieces(structure.truncated ? Pieces(pieces) : Pieces(pieces).first(1), false,
                       structure.decoder_bytes, background);
}

inline constexpr std::size_t png_checksum_bytes = 4;  ///< left zero: the decoder does not look

inline void append_chunk_start(std::vector<std::byte>& out, std::string_view name,
                               std::uint64_t length) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out.push_back(static_cast<std::byte>(length >> shift & 0xFFu));
  for (const char letter : name) out.push_back(static_cast<std::byte>(letter));
}

inline void append_chunk(std::vector<std::byte>& out, std::string_view name,
                         std::span<const std::byte> data) {
  append_chunk_start(out, name, data.size());
  out.insert(out.end(), data.begin(), data.end());
  out.resize(out.size() + png_checksum_bytes);
}

/// Hands over only what matters, as one IDAT, with the palette filled up to 256 colours. The format
/// leaves open what a pixel beyond the palette's end shows; here it is its index as grey, as in
/// Pillow.
inline Image decode_png(const PngStructure& structure, Color background) {
  std::vector<std::byte> head;
  for (const char c : std::string_view("\x89PNG\r\n\x1a\n"))
    head.push_back(static_cast<std::byte>(c));
  append_chunk(head, "IHDR", structure.header);
  if (structure.palette) {
    std::vector<std::byte> colors(structure.colors.begin(), structure.colors.end());
    for (std::size_t index = colors.size() / 3; index < 256; ++index)
      colors.insert(colors.end(), 3, static_cast<std::byte>(index));
    append_chunk(head, "PLTE", colors);
  }
  if (!structure.transparency.empty()) append_chunk(head, "tRNS", structure.transparency);
  append_chunk_start(head, "IDAT", structure.compressed_bytes);
  std::vector<std::byte> tail(png_checksum_bytes);
  append_chunk(tail, "IEND", {});

  std::vector<std::span<const std::byte>> pieces{head};
  pieces.insert(pieces.end(), structure.compressed.begin(), structure.compressed.end());
  pieces.push_back(tail);
  return decode_pieces(pieces, structure.transparent, structure.decoder_bytes, background);
}

/// Hands over only what matters, behind a header of 108 bytes, with the palette filled up in black.
inline Image decode_bmp(const BmpStructure& structure, Color background) {
  constexpr std::uint32_t file_header = 14, header = 108;
  const std::uint32_t colors = structure.bits <= 8 ? 1u << structure.bits : 0;
  const std::uint32_t pixels = file_header + header + 4 * colors;
  std::vector<std::byte> head;
  const auto append = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) head.push_back(static_cast<std::byte>(value >> 8 * i & 0xFFu));
  };
  append('B', 1);
  append('M', 1);
  head.resize(10);  // the file's size is not read
  append(pixels, 4);
  append(header, 4);
  append(static_cast<std::uint32_t>(structure.width), 4);
  append(static_cast<std::uint32_t>(structure.downwards ? -structure.height : structure.height), 4);
  append(1, 2);  // planes
  append(structure.bits, 2);
  append(structure.compression, 4);
  head.resize(head.size() + 20);
  for (const std::uint32_t mask : structure.masks) append(mask, 4);
  head.resize(file_header + header);
  head.insert(head.end(), structure.palette.begin(), structure.palette.end());
  head.resize(pixels);
  const std::array<std::span<const std::byte>, 2> pieces{head, structure.rows};
  return decode_pieces(pieces, structure.transparent, structure.decoder_bytes, background);
}

inline Image decode_any(std::span<const std::byte> bytes, const DecodeOptions& options,
                        const Limits& limits) {
  constexpr std::uint64_t addressable =
      std::numeric_limits<int>::max();  // the decoder counts in int
  const std::uint64_t longest = std::min(limits.image_file_bytes, addressable);
  if (bytes.size() > longest)
    throw Error(ErrorCode::limit_exceeded, "the picture's file is too large",
                {.expected = "at most " + std::to_string(longest) + " bytes",
                 .actual = std::to_string(bytes.size())});
  std::span<const std::byte> exif;
  Image image;
  switch (image_kind(bytes)) {
    case ImageKind::jpeg: {
      const JpegStructure structure = inspect_jpeg(bytes, limits, options.allow_truncated);
      image = decode_jpeg(bytes, structure, options.background);
      exif = structure.exif;
      break;
    }
    case ImageKind::png: {
      const PngStructure structure = inspect_png(bytes, limits);
      image = decode_png(structure, options.background);
      exif = structure.exif;
      break;
    }
    case ImageKind::bmp: {
      const BmpStructure structure = inspect_bmp(bytes, limits, options.allow_truncated);
      image = decode_bmp(structure, options.background);
      break;
    }
  }
  if (!options.apply_orientation) return image;
  return apply_orientation(std::move(image), exif_orientation(exif));
}

}  // namespace detail

QUERY2LABEL_INLINE Image decode_image(std::span<const std::byte> bytes,
                                      const DecodeOptions& options, const Limits& limits) {
  return with_memory_error("no memory to decode the picture", "",
                           [&] { return detail::decode_any(bytes, options, limits); });
}

}  // namespace q2l
