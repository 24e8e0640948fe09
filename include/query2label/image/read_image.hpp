// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>

#include "query2label/core/read_file.hpp"
#include "query2label/image/decode.hpp"

namespace q2l {

/// The picture in a file; see decode_image. Errors carry the path. Also throws io, not_regular_file
/// (at once, for pipes and devices too) and file_changed.
inline Image read_image(const std::filesystem::path& path, const DecodeOptions& options = {},
                        const Limits& limits = {}) {
  try {
    return with_memory_error("no memory to read the picture", path.native(), [&] {
      return decode_image(read_file(path, limits.image_file_bytes), options, limits);
    });
  } catch (const Error& error) {
    throw error.in_file(path.native());
  }
}

}  // namespace q2l
