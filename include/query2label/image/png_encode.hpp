// SPDX-License-Identifier: MIT
// The only place of stb_image_write, compiled like stb_image with internal linkage in
// q2l::detail::stb_write. Its growing buffers ignore that there is no memory, so its allocations
// throw.
#pragma once

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cstddef>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/image/image.hpp"

namespace q2l::detail {

/// The head of each block of memory of the encoder running on this thread; all are in a list.
struct alignas(16) EncoderBlock {
  EncoderBlock* next;
  EncoderBlock** link;  ///< what points to this one
};
inline thread_local constinit EncoderBlock* encoder_blocks = nullptr;

/// Throws std::bad_alloc, unlike C's.
inline void* encoder_malloc(std::size_t size) {
  auto* block = ::new (::operator new(sizeof(EncoderBlock) + size))
      EncoderBlock{encoder_blocks, &encoder_blocks};
  if (block->next != nullptr) block->next->link = &block->next;
  encoder_blocks = block;
  return block + 1;
}

inline void encoder_free(void* memory) noexcept {
  if (memory == nullptr) return;
  auto* block = static_cast<EncoderBlock*>(memory) - 1;
  *block->link = block->next;
  if (block->next != nullptr) block->next->link = block->link;
  ::operator delete(block);
}

inline void* encoder_realloc(void* memory, std::size_t old_size, std::size_t new_size) {
  void* larger = encoder_malloc(new_size);
  if (memory != nullptr) ::memcpy(larger, memory, old_size);
  encoder_free(memory);
  return larger;
}

/// At its end frees what the encoder has left: its result, or all where it was thrown through.
struct EncoderMemory {
  EncoderMemory() = default;
  EncoderMemory(const EncoderMemory&) = delete;
  EncoderMemory& operator=(const EncoderMemory&) = delete;
  ~EncoderMemory() {
    while (encoder_blocks != nullptr) encoder_free(encoder_blocks + 1);
  }
};

}  // namespace q2l::detail

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
#define STBIW_FREE(memory) ::q2l::detail::encoder_free(memory)
#define STBIW_MALLOC(size) ::q2l::detail::encoder_malloc(size)
#define STBIW_REALLOC_SIZED(memory, old_size, new_size) \
  ::q2l::detail::encoder_realloc(memory, old_size, new_size)
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

/// The picture as a PNG file of 8-bit RGB. Throws bad_argument for what require_valid refuses and a
/// picture of more than 512 MiB, out_of_memory if it cannot be encoded.
inline std::vector<std::byte> encode_png(const Image& image) {
  require_valid(image, "encode_png");
  constexpr std::size_t largest = std::size_t{512} << 20;  // the encoder's buffers double in int
  if (image.rgb.size() > largest)
    throw Error(ErrorCode::bad_argument, "a picture of this size cannot be written",
                {.subject = "encode_png",
                 .expected = "at most " + std::to_string(largest) + " bytes",
                 .actual = std::to_string(image.rgb.size())});
  return with_memory_error("no memory to encode the picture", "", [&] {
    const detail::EncoderMemory memory;
    int size = 0;
    const unsigned char* file = detail::stb_write::stbi_write_png_to_mem(
        image.rgb.data(), image.width * 3, image.width, image.height, 3, &size);
    const auto* first = reinterpret_cast<const std::byte*>(file);
    return std::vector<std::byte>(first, first + size);
  });
}

/// Writes the picture as PNG: wholly, or not at all. Throws output_io, and what encode_png throws.
inline void write_png(const std::filesystem::path& path, const Image& image) {
  write_file(path, encode_png(image));
}

}  // namespace q2l
