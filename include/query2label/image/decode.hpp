// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>

#include "query2label/core/limits.hpp"
#include "query2label/core/separate_compilation.hpp"
#include "query2label/image/image.hpp"

namespace q2l {

struct DecodeOptions {
  /// Turn the picture as its EXIF block says, as viewers do. Off reproduces the reference's
  /// training.
  bool apply_orientation = true;
  /// Accept a JPEG or BMP that is cut off; what is missing is grey or black.
  bool allow_truncated = false;
  /// Shown through transparent pixels.
  Color background = white;
};

/// The picture in a JPEG, PNG or BMP file, told apart by content. 16-bit samples keep their high
/// byte, colour profiles and gamma are ignored, transparency is composited on a background. The
/// structure is checked before anything is decoded: cut files, wrong checksums and headers that ask
/// for too many pixels are refused from the header on. Bytes behind the end of the picture are
/// allowed. Memory beyond the file and the result: at most twice width x height x 4 bytes and 1
/// MiB; a progressive JPEG without subsampling needs 12 bytes a pixel, or 15 if it is CMYK, 16-bit
/// and interlaced PNGs twice as much, both four times, and so may have a half or a quarter of the
/// pixels. Throws image_unsupported, image_truncated, image_too_large, bad_image,
/// checksum_mismatch, limit_exceeded or out_of_memory.
QUERY2LABEL_INLINE Image decode_image(std::span<const std::byte> bytes,
                                      const DecodeOptions& options = {}, const Limits& limits = {});

}  // namespace q2l

#ifndef QUERY2LABEL_SEPARATE_COMPILATION
#include "query2label/image/decode_definition.hpp"
#endif
