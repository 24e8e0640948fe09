// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "query2label/image/image_bytes.hpp"

namespace q2l {

/// The file formats that are decoded.
enum class ImageKind { jpeg, png, bmp };

namespace detail {

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

using namespace std::string_view_literals;

/// What files that are no JPEG, PNG or BMP look like, so that the message can say it.
inline constexpr Signature foreign_signatures[] = {
    {8, "WEBP"sv, "a WebP picture"},
    {0, "GIF87a"sv, "a GIF picture"},
    {0, "GIF89a"sv, "a GIF picture"},
    {0, "II*\0"sv, "a TIFF picture"},
    {0, "MM\0*"sv, "a TIFF picture"},
    {4, "ftypheic"sv, "a HEIC picture"},
    {4, "ftypheix"sv, "a HEIC picture"},
    {4, "ftyphevc"sv, "a HEIC picture"},
    {4, "ftypmif1"sv, "a HEIF picture"},
    {4, "ftypmsf1"sv, "a HEIF picture"},
    {4, "ftypavif"sv, "an AVIF picture"},
    {4, "ftypavis"sv, "an AVIF picture"},
    {4, "ftyp"sv, "an MP4 or QuickTime film"},
    {0, "\0\0\0\x0cJXL "sv, "a JPEG XL picture"},
    {0, "\xff\x0a"sv, "a JPEG XL picture"},
    {0, "\0\0\0\x0cjP  "sv, "a JPEG 2000 picture"},
    {0, "\xff\x4f\xff\x51"sv, "a JPEG 2000 picture"},
    {0, "8BPS"sv, "a Photoshop document"},
    {0, "%PDF"sv, "a PDF document"},
    {0, "<svg"sv, "an SVG drawing"},
    {0, "<?xml"sv, "an XML document, perhaps an SVG drawing"},
    {0, "<!DOCTYPE"sv, "an HTML page"},
    {0, "<html"sv, "an HTML page"},
    {0, "#?RADIANCE"sv, "a Radiance HDR picture"},
    {0, "P1"sv, "a PNM picture"},
    {0, "P2"sv, "a PNM picture"},
    {0, "P3"sv, "a PNM picture"},
    {0, "P4"sv, "a PNM picture"},
    {0, "P5"sv, "a PNM picture"},
    {0, "P6"sv, "a PNM picture"},
    {0, "\0\0\1\0"sv, "a Windows icon"},
    {0, "\x1a\x45\xdf\xa3"sv, "a Matroska or WebM film"},
    {0,
     "\x7f"
     "ELF"sv,
     "a program"},
    {0, "MZ"sv, "a program"},
    {0, "PK\3\4"sv, "a ZIP archive"},
    {0, "\x1f\x8b"sv, "a gzip archive"},
    {0, "version https://git-lfs"sv, "a Git LFS pointer (run git lfs pull)"},
};

}  // namespace detail

/// The format of a picture, by its first bytes alone; a file's name is never asked.
/// Throws image_unsupported, saying what the bytes look like.
inline ImageKind image_kind(std::span<const std::byte> bytes) {
  using namespace std::string_view_literals;
  const detail::ImageBytes file(bytes);
  if (file.has(0, "\xff\xd8\xff"sv)) return ImageKind::jpeg;
  if (file.has(0, "\x89PNG\r\n\x1a\n"sv)) return ImageKind::png;
  if (file.has(0, "BM"sv)) return ImageKind::bmp;
  std::string_view actual = bytes.empty() ? "an empty file"sv : "unknown bytes"sv;
  for (const detail::Signature& signature : detail::foreign_signatures)
    if (file.has(signature.offset, signature.bytes)) {
      actual = signature.name;
      break;
    }
  throw Error(ErrorCode::image_unsupported, "not a picture that can be decoded",
              {.offset = 0, .expected = "JPEG, PNG or BMP", .actual = std::string(actual)});
}

}  // namespace q2l
