// SPDX-License-Identifier: MIT
// The only place of stb_image_write, compiled like stb_image with internal linkage in
// q2l::detail::stb_write.
#pragma once

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/image/image.hpp"

// Every macro that a host may have set for stb_image_write.
// clang-format off
#define Q2L_STB_WRITE_MACROS(op) \
  op(INCLUDE_STB_IMAGE_WRITE_H) op(STBIWDEF) op(STBIW_ASSERT) op(STBIW_FREE) op(STBIW_MALLOC) \
  op(STBIW_MEMMOVE) op(STBIW_REALLOC) op(STBIW_REALLOC_SIZED) op(STBIW_CRC32) \
  op(STBIW_ZLIB_COMPRESS) op(STBI_WRITE_NO_STDIO) op(STB_IMAGE_WRITE_IMPLEMENTATION) \
  op(STB_IMAGE_WRITE_STATIC)
// clang-format on
#define Q2L_PRAGMA(text) _Pragma(#text)
#define Q2L_PUSH_MACRO(name) Q2L_PRAGMA(push_macro(#name))
#define Q2L_POP_MACRO(name) Q2L_PRAGMA(pop_macro(#name))
Q2L_STB_WRITE_MACROS(Q2L_PUSH_MACRO)
#undef INCLUDE_STB_IMAGE_WRITE_H
#undef STBIWDEF
#undef STBIW_ASSERT
#undef STBIW_FREE
#undef STBIW_MALLOC
#undef STBIW_MEMMOVE
#undef STBIW_REALLOC
#undef STBIW_REALLOC_SIZED
#undef STBIW_CRC32
#undef STBIW_ZLIB_COMPRESS
#undef STBI_WRITE_NO_STDIO
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_STATIC

#define STBIW_ASSERT(condition) ((void)0)
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
namespace q2l::detail::stb_write {
#if __has_include(<stb/stb_image_write.h>)
#include <stb/stb_image_write.h>
#else
#include <stb_image_write.h>
#endif
}  // namespace q2l::detail::stb_write
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

Q2L_STB_WRITE_MACROS(Q2L_POP_MACRO)
#undef Q2L_STB_WRITE_MACROS
#undef Q2L_PRAGMA
#undef Q2L_PUSH_MACRO
#undef Q2L_POP_MACRO

namespace q2l {

/// The picture as a PNG file of 8-bit RGB. Throws bad_argument for an empty picture or one whose
/// rows do not fit the encoder's int, out_of_memory if it cannot be encoded.
inline std::vector<std::byte> encode_png(const Image& image) {
  constexpr std::size_t addressable = std::numeric_limits<int>::max() / 2;
  if (image.width < 1 || image.height < 1 || image.rgb.size() > addressable)
    throw Error(ErrorCode::bad_argument, "a picture of this size cannot be written",
                {.subject = "encode_png",
                 .actual = std::to_string(image.width) + " x " + std::to_string(image.height)});
  int size = 0;
  const std::unique_ptr<unsigned char, void (*)(void*)> file(
      detail::stb_write::stbi_write_png_to_mem(image.rgb.data(), image.width * 3, image.width,
                                               image.height, 3, &size),
      &::free);
  if (file == nullptr) throw Error(ErrorCode::out_of_memory, "no memory to encode the picture");
  const auto* first = reinterpret_cast<const std::byte*>(file.get());
  return {first, first + size};
}

/// Writes the picture as PNG: wholly, or not at all. Throws output_io, and what encode_png throws.
inline void write_png(const std::filesystem::path& path, const Image& image) {
  write_file(path, encode_png(image));
}

}  // namespace q2l
