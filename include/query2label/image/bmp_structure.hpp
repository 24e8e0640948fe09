// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "query2label/image/image_bytes.hpp"

namespace q2l::detail {

/// What a BMP file says about itself, and where what matters lies in it.
struct BmpStructure {
  int width = 0;
  int height = 0;
  bool downwards = false;  ///< the first row stored is the top one
  std::uint32_t bits = 0;  ///< a pixel
  std::uint32_t compression = 0;
  std::array<std::uint32_t, 4> masks{};  ///< red, green, blue, alpha; with compression 3
  std::span<const std::byte> palette{};  ///< blue, green, red and a byte of padding a colour
  std::span<const std::byte> rows{};
  bool transparent = false;  ///< 32 bit with a mask for alpha; without one the byte is padding
  std::uint64_t decoder_bytes = 0;  ///< what the result needs
};

/// Throws bad_image where a pixel names a colour behind the palette's end.
inline void check_palette_indices(std::span<const std::byte> rows, std::size_t stride,
                                  std::size_t width, std::uint32_t bits, std::size_t palette_size,
                                  std::size_t rows_offset) {
  if (palette_size >= std::size_t{1} << bits) return;
  const std::size_t per_byte = 8 / bits, mask = (std::size_t{1} << bits) - 1;
  for (std::size_t at = 0; at < rows.size(); at += stride)
    for (std::size_t x = 0; x < width; ++x) {
      const auto byte = static_cast<std::size_t>(rows[at + x / per_byte]);
      const std::size_t index = byte >> (8 - bits * (x % per_byte + 1)) & mask;
      if (index >= palette_size)
        throw Error(ErrorCode::bad_image, "a pixel's colour is not in the palette",
                    {.offset = rows_offset + at + x / per_byte,
                     .expected = "an index below " + std::to_string(palette_size),
                     .actual = std::to_string(index)});
    }
}

/// Checks a BMP's headers and that every row is there. Accepts uncompressed pixels of 1, 4, 8, 16,
/// 24 and 32 bit, stored upwards or downwards, and whatever lies between headers and pixels;
/// refuses run lengths and embedded JPEG or PNG. Throws image_truncated, bad_image,
/// image_unsupported or image_too_large. With `allow_truncated`, missing rows pass.
inline BmpStructure inspect_bmp(std::span<const std::byte> bytes, const Limits& limits,
                                bool allow_truncated = false) {
  constexpr std::size_t file_header = 14, masks_at = 54;  // behind 40 bytes, or part of the header
  constexpr std::uint32_t uncompressed = 0, bit_fields = 3;
  const auto fail = [](ErrorCode code, std::string_view detail, std::size_t offset,
                       std::uint64_t actual) {
    throw Error(code, detail, {.offset = offset, .actual = std::to_string(actual)});
  };

  const ImageBytes file(bytes);
  const std::size_t pixels = file.le32(10), header = file.le32(file_header);
  if (header != 12 && header != 40 && header != 56 && header != 108 && header != 124)
    fail(ErrorCode::image_unsupported, "an unknown kind of BMP header", file_header, header);
  static_cast<void>(file.slice(file_header, header));
  const bool old = header == 12;
  const std::uint32_t width = old ? file.le16(18) : file.le32(18);
  const std::uint32_t signed_height = old ? file.le16(20) : file.le32(22);
  const bool downwards = signed_height > 0x80000000u;
  const std::uint32_t height = downwards ? 0u - signed_height : signed_height;
  check_dimensions(width, height, limits, 18);
  const std::size_t planes_at = old ? 22 : 26;
  const std::uint32_t bits = file.le16(planes_at + 2);
  const std::uint32_t compression = old ? uncompressed : file.le32(30);
  if (file.le16(planes_at) != 1)
    fail(ErrorCode::bad_image, "the number of planes is not 1", planes_at, file.le16(planes_at));
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32)
    fail(ErrorCode::image_unsupported, "an unusual number of bits a pixel", planes_at + 2, bits);
  if (compression != uncompressed && compression != bit_fields)
    fail(ErrorCode::image_unsupported, "a compressed BMP", 30, compression);
  if (compression == bit_fields && bits != 16 && bits != 32)
    fail(ErrorCode::bad_image, "colour masks need 16 or 32 bits a pixel", planes_at + 2, bits);
  if (old && bits <= 8) fail(ErrorCode::image_unsupported, "an OS/2 palette", planes_at + 2, bits);
  const std::size_t headers_end =
      compression == bit_fields && header == 40 ? masks_at + 12 : file_header + header;
  if (pixels < headers_end) fail(ErrorCode::bad_image, "the pixels overlap the header", 10, pixels);

  BmpStructure structure{.width = static_cast<int>(width),
                         .height = static_cast<int>(height),
                         .downwards = downwards,
                         .bits = bits,
                         .compression = compression,
                         .decoder_bytes = std::uint64_t{width} * height * 4};
  if (compression == bit_fields) {
    const std::size_t masks = header >= 56 ? 4 : 3;
    for (std::size_t i = 0; i < masks; ++i) structure.masks[i] = file.le32(masks_at + 4 * i);
    structure.transparent = structure.masks[3] != 0;
  }

  const std::size_t stride = (std::size_t{width} * bits + 31) / 32 * 4;
  const std::size_t needed = stride * height;
  const std::size_t present = pixels < file.size() ? file.size() - pixels : 0;
  structure.rows = file.slice(allow_truncated ? std::min(pixels, file.size()) : pixels,
                              allow_truncated ? std::min(needed, present) : needed);
  if (bits <= 8) {
    const std::size_t room = (pixels - headers_end) / 4;
    const std::size_t colors = std::min(room, std::size_t{1} << bits);
    if (colors == 0) fail(ErrorCode::bad_image, "a palette of impossible size", 10, pixels);
    structure.palette = file.slice(headers_end, colors * 4);
    check_palette_indices(structure.rows.first(structure.rows.size() / stride * stride), stride,
                          width, bits, colors, pixels);
  }
  return structure;
}

}  // namespace q2l::detail
