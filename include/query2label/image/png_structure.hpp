// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/crc32.hpp"
#include "query2label/image/image_bytes.hpp"

namespace q2l::detail {

/// What a PNG file says about itself; all spans point into the file.
struct PngStructure {
  int width = 0;
  int height = 0;
  int bit_depth = 0;
  bool palette = false;
  bool interlaced = false;
  bool transparent = false;                            ///< an alpha channel or a tRNS chunk
  std::span<const std::byte> header;                   ///< data of IHDR
  std::span<const std::byte> colors;                   ///< data of PLTE, for palette pictures
  std::span<const std::byte> transparency;             ///< data of tRNS, or empty
  std::span<const std::byte> exif;                     ///< data of eXIf, or empty
  std::vector<std::span<const std::byte>> compressed;  ///< data of each IDAT
  std::uint64_t compressed_bytes = 0;
  std::uint64_t decoder_bytes = 0;  ///< what inflating, unfiltering and conversion to 8 bit need
};

/// Walks a PNG's chunks (W3C PNG, second edition) and checks each one's CRC-32.
class PngWalk {
 public:
  PngWalk(std::span<const std::byte> bytes, const Limits& limits) : file_(bytes), limits_(limits) {}

  /// Returns after IEND; what follows it is not looked at. Throws at the first fault.
  PngStructure run() {
    constexpr std::size_t signature_bytes = 8, frame_bytes = 12;  // length, name, CRC
    for (std::size_t at = signature_bytes; !ended_;) {
      chunk_ = at;
      const std::size_t length = file_.be32(at);
      if (length > 0x7FFFFFFFu) fail(ErrorCode::bad_image, "a chunk longer than the format allows");
      name_.clear();
      for (std::size_t i = 0; i < 4; ++i) name_ += static_cast<char>(file_.u8(at + 4 + i));
      const auto data = file_.slice(at + 8, length);
      const std::uint32_t stored = file_.be32(at + 8 + length);
      if (crc32(file_.slice(at + 4, length + 4)) != stored)
        fail(ErrorCode::checksum_mismatch, "the chunk is damaged: its checksum does not fit");
      chunk(data);
      at += frame_bytes + length;
    }
    return std::move(structure_);
  }

 private:
  [[noreturn]] void fail(ErrorCode code, std::string_view detail, std::string actual = {}) const {
    throw Error(code, detail, {.offset = chunk_, .subject = name_, .actual = std::move(actual)});
  }

  void chunk(std::span<const std::byte> data) {
    if (structure_.width == 0 && name_ != "IHDR") {
      if (name_ == "CgBI") fail(ErrorCode::image_unsupported, "Apple's private variant of PNG");
      fail(ErrorCode::bad_image, "the first chunk is not IHDR");
    }
    if (name_ != "IDAT" && !structure_.compressed.empty()) data_ended_ = true;
    if (name_ == "IHDR") return header(data);
    if (name_ == "PLTE") return colors(data);
    if (name_ == "tRNS") return transparency(data);
    if (name_ == "IDAT") return compressed(data);
    if (name_ == "IEND") return end(data);
    if (name_ == "eXIf") {
      structure_.exif = data;
      return;
    }
    for (const char letter : name_)
      if ((letter | 0x20) < 'a' || (letter | 0x20) > 'z')
        fail(ErrorCode::bad_image, "a chunk name that is not four letters");
    const bool critical = (name_[0] & 0x20) == 0;
    if (critical) fail(ErrorCode::image_unsupported, "an unknown chunk that must be understood");
  }

  void header(std::span<const std::byte> data) {
    if (structure_.width != 0) fail(ErrorCode::bad_image, "a second IHDR");
    if (data.size() != 13) fail(ErrorCode::bad_image, "IHDR of the wrong size");
    const ImageBytes field(data);
    const std::uint32_t depth = field.u8(8);
    const std::uint64_t cost = (depth == 16 ? 2u : 1u) * (field.u8(12) == 1 ? 2u : 1u);
    check_dimensions(field.be32(0), field.be32(4), limits_, chunk_, cost);
    color_type_ = field.u8(9);
    const bool depth_is_power = depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    const bool type_known = color_type_ <= 6 && color_type_ != 1 && color_type_ != 5;
    const bool pair_allowed = color_type_ == 0 || (color_type_ == 3 ? depth <= 8 : depth >= 8);
    if (!depth_is_power || !type_known || !pair_allowed)
      fail(ErrorCode::bad_image, "an impossible pixel format",
           "depth " + std::to_string(depth) + ", colour type " + std::to_string(color_type_));
    if (field.u8(10) != 0 || field.u8(11) != 0 || field.u8(12) > 1)
      fail(ErrorCode::image_unsupported, "an unknown compression, filter or interlace method");
    structure_.header = data;
    structure_.width = static_cast<int>(field.be32(0));
    structure_.height = static_cast<int>(field.be32(4));
    structure_.bit_depth = static_cast<int>(depth);
    structure_.palette = color_type_ == 3;
    structure_.transparent = color_type_ == 4 || color_type_ == 6;
    structure_.interlaced = field.u8(12) == 1;
  }

  void colors(std::span<const std::byte> data) {
    if (!structure_.compressed.empty()) fail(ErrorCode::bad_image, "PLTE after the pixels");
    if (color_type_ == 0 || color_type_ == 4) fail(ErrorCode::bad_image, "PLTE in a grey picture");
    if (palette_seen_) fail(ErrorCode::bad_image, "a second PLTE");
    if (data.empty() || data.size() % 3 != 0 || data.size() > 3 * 256)
      fail(ErrorCode::bad_image, "PLTE of an impossible size",
           std::to_string(data.size()) + " bytes");
    palette_seen_ = true;
    structure_.colors = data;
  }

  void transparency(std::span<const std::byte> data) {
    if (!structure_.compressed.empty()) fail(ErrorCode::bad_image, "tRNS after the pixels");
    if (!structure_.transparency.empty()) fail(ErrorCode::bad_image, "a second tRNS");
    const bool fits =
        (color_type_ == 0 && data.size() == 2) || (color_type_ == 2 && data.size() == 6) ||
        (color_type_ == 3 && !data.empty() && data.size() <= structure_.colors.size() / 3);
    if (!fits) fail(ErrorCode::bad_image, "tRNS does not fit the pixel format");
    structure_.transparency = data;
    structure_.transparent = true;
  }

  void compressed(std::span<const std::byte> data) {
    if (data_ended_) fail(ErrorCode::bad_image, "pixels in two separate places");
    if (structure_.palette && !palette_seen_)
      fail(ErrorCode::bad_image, "pixels without a palette");
    structure_.compressed.push_back(data);
    structure_.compressed_bytes += data.size();
  }

  void end(std::span<const std::byte> data) {
    if (!data.empty()) fail(ErrorCode::bad_image, "IEND is not empty");
    if (structure_.compressed_bytes == 0) fail(ErrorCode::bad_image, "no pixels");
    ended_ = true;
    const auto pixels = static_cast<std::uint64_t>(structure_.width) *
                        static_cast<std::uint64_t>(structure_.height);
    // Two buffers of four channels; interlaced ones need a third and a fourth for a while.
    const std::uint64_t buffers = structure_.interlaced ? 4 : 2;
    const std::uint64_t sample_bytes = structure_.bit_depth == 16 ? 2 : 1;
    structure_.decoder_bytes = structure_.compressed_bytes + buffers * pixels * 4 * sample_bytes;
  }

  ImageBytes file_;
  const Limits& limits_;
  std::size_t chunk_ = 0;  ///< where the current chunk starts
  std::string name_;
  std::uint32_t color_type_ = 0;
  bool palette_seen_ = false;
  bool data_ended_ = false;
  bool ended_ = false;
  PngStructure structure_;
};

/// Checks everything about a PNG but its compressed data, which the chunks' checksums cover. Throws
/// image_truncated, checksum_mismatch, bad_image, image_unsupported or image_too_large with the
/// chunk's name and offset.
inline PngStructure inspect_png(std::span<const std::byte> bytes, const Limits& limits) {
  return PngWalk(bytes, limits).run();
}

}  // namespace q2l::detail
