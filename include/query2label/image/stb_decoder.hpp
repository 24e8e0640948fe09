// SPDX-License-Identifier: MIT
// The only place of stb_image: compiled here with internal linkage inside q2l::detail::stb, with
// only the three decoders that are needed, under a budget for its memory. A host may use stb_image
// itself, before or after this header, with settings of its own: every macro it could have set is
// put back. Each unit that includes this has a copy of its own; they are the same.
#pragma once

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "query2label/core/error.hpp"

namespace q2l::detail {

inline constexpr std::uint64_t decoder_slack_bytes = 128u << 10;  ///< tables and line buffers

/// What the decoder running on this thread may still allocate, and why an allocation was refused.
struct DecoderBudget {
  std::uint64_t bytes_left = 0;
  bool exceeded = false;
  bool out_of_memory = false;
};
inline thread_local constinit DecoderBudget decoder_budget{};

inline constexpr std::size_t decoder_block_header = 16;  // keeps the alignment of calloc

/// Zeroed memory within the budget, so that what a damaged file leaves unwritten is not heap
/// garbage.
inline void* decoder_malloc(std::size_t size) noexcept {
  DecoderBudget& budget = decoder_budget;
  if (size > budget.bytes_left) {
    budget.exceeded = true;
    return nullptr;
  }
  void* block = ::calloc(1, size + decoder_block_header);
  if (block == nullptr) {
    budget.out_of_memory = true;
    return nullptr;
  }
  budget.bytes_left -= size;
  ::memcpy(block, &size, sizeof size);
  return static_cast<std::byte*>(block) + decoder_block_header;
}

inline void decoder_free(void* memory) noexcept {
  if (memory == nullptr) return;
  void* block = static_cast<std::byte*>(memory) - decoder_block_header;
  std::size_t size = 0;
  ::memcpy(&size, block, sizeof size);
  decoder_budget.bytes_left += size;
  ::free(block);
}

inline void* decoder_realloc(void* memory, std::size_t old_size, std::size_t new_size) noexcept {
  void* larger = decoder_malloc(new_size);
  if (larger == nullptr || memory == nullptr) return larger;
  ::memcpy(larger, memory, std::min(old_size, new_size));
  decoder_free(memory);
  return larger;
}

}  // namespace q2l::detail

// Every macro that a host may have set for stb_image, or that would change its text.
// clang-format off
#define Q2L_STB_MACROS(op) \
  op(FAST_BITS) op(STBIDEF) op(STBI_ASSERT) op(STBI_FREE) op(STBI_INCLUDE_STB_IMAGE_H) \
  op(STBI_MALLOC) op(STBI_MAX_DIMENSIONS) op(STBI_NO_BMP) op(STBI_NO_FAILURE_STRINGS) \
  op(STBI_NO_GIF) op(STBI_NO_HDR) op(STBI_NO_JPEG) op(STBI_NO_LINEAR) op(STBI_NO_PIC) \
  op(STBI_NO_PNG) op(STBI_NO_PNM) op(STBI_NO_PSD) op(STBI_NO_STDIO) op(STBI_NO_TGA) \
  op(STBI_NO_THREAD_LOCALS) op(STBI_NO_ZLIB) op(STBI_ONLY_BMP) op(STBI_ONLY_JPEG) \
  op(STBI_ONLY_PNG) op(STBI_REALLOC) op(STBI_REALLOC_SIZED) op(stbi__err) op(stbi__errpf) \
  op(stbi__errpuc) op(STB_IMAGE_IMPLEMENTATION) op(STB_IMAGE_STATIC)
// clang-format on
#define Q2L_PRAGMA(text) _Pragma(#text)
#define Q2L_PUSH_MACRO(name) Q2L_PRAGMA(push_macro(#name))
#define Q2L_POP_MACRO(name) Q2L_PRAGMA(pop_macro(#name))
Q2L_STB_MACROS(Q2L_PUSH_MACRO)
#undef FAST_BITS
#undef STBIDEF
#undef STBI_ASSERT
#undef STBI_FREE
#undef STBI_INCLUDE_STB_IMAGE_H
#undef STBI_MALLOC
#undef STBI_MAX_DIMENSIONS
#undef STBI_NO_BMP
#undef STBI_NO_FAILURE_STRINGS
#undef STBI_NO_GIF
#undef STBI_NO_HDR
#undef STBI_NO_JPEG
#undef STBI_NO_LINEAR
#undef STBI_NO_PIC
#undef STBI_NO_PNG
#undef STBI_NO_PNM
#undef STBI_NO_PSD
#undef STBI_NO_STDIO
#undef STBI_NO_TGA
#undef STBI_NO_THREAD_LOCALS
#undef STBI_NO_ZLIB
#undef STBI_ONLY_BMP
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_PNG
#undef STBI_REALLOC
#undef STBI_REALLOC_SIZED
#undef stbi__err
#undef stbi__errpf
#undef stbi__errpuc
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_STATIC

#define STB_IMAGE_IMPLEMENTATION
// GCC names static functions in extern "C" blocks as C does, in whatever namespace: a host's own in
// the same unit would clash. So none may become a symbol.
#define STBIDEF [[gnu::always_inline]] static inline
#define STBI_ASSERT(condition) \
  ((void)0)  // a library never aborts; the structure was checked before
#define STBI_FREE(memory) ::q2l::detail::decoder_free(memory)
#define STBI_MALLOC(size) ::q2l::detail::decoder_malloc(size)
#define STBI_REALLOC_SIZED(memory, old_size, new_size) \
  ::q2l::detail::decoder_realloc(memory, old_size, new_size)
#define STBI_MAX_DIMENSIONS (1 << 24)
#define STBI_NO_LINEAR
#define STBI_NO_STDIO
#define STBI_ONLY_BMP
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#if defined(__clang__)
// Where a JPEG's scan ends early, stb_image 2.27 shifts a zero too far, which stays a zero.
#pragma clang attribute push(__attribute__((no_sanitize("shift-exponent"))), apply_to = function)
#endif
namespace q2l::detail::stb {
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
}  // namespace q2l::detail::stb
#if defined(__clang__)
#pragma clang attribute pop
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

Q2L_STB_MACROS(Q2L_POP_MACRO)
#undef Q2L_STB_MACROS
#undef Q2L_PRAGMA
#undef Q2L_PUSH_MACRO
#undef Q2L_POP_MACRO

namespace q2l::detail {

struct DecoderFree {
  void operator()(std::uint8_t* memory) const noexcept { decoder_free(memory); }
};

/// What a decoder gave: width x height pixels of the channels that were asked for.
struct DecodedPixels {
  std::unique_ptr<std::uint8_t[], DecoderFree> samples;
  int width = 0;
  int height = 0;
};

/// A file in several pieces, read by the decoder as if it were in one.
class PieceReader {
 public:
  explicit PieceReader(std::span<const std::span<const std::byte>> pieces) : pieces_(pieces) {}

  /// Copies up to `size` bytes and returns how many there were; a null `out` skips them.
  int read(char* out, int size) {
    auto wanted = static_cast<std::size_t>(std::max(size, 0));
    std::size_t done = 0;
    while (wanted != 0 && !pieces_.empty()) {
      const auto rest = pieces_.front().subspan(within_);
      const std::size_t count = std::min(wanted, rest.size());
      if (out != nullptr && count != 0) ::memcpy(out + done, rest.data(), count);
      done += count;
      wanted -= count;
      within_ += count;
      if (within_ == pieces_.front().size()) {
        pieces_ = pieces_.subspan(1);
        within_ = 0;
      }
    }
    return static_cast<int>(done);
  }

  [[nodiscard]] bool at_end() const noexcept { return pieces_.empty(); }

 private:
  std::span<const std::span<const std::byte>> pieces_;
  std::size_t within_ = 0;
};

/// Decodes to `channels` (3 or 4) of 8 bit, with at most `budget` bytes of memory. Throws
/// bad_image, image_too_large where the file wants more memory than a picture of its size needs, or
/// out_of_memory.
inline DecodedPixels decode_with_stb(std::span<const std::span<const std::byte>> pieces,
                                     int channels, std::uint64_t budget) {
  PieceReader reader(pieces);
  const stb::stbi_io_callbacks callbacks{
      [](void* user, char* data, int size) {
        return static_cast<PieceReader*>(user)->read(data, size);
      },
      [](void* user, int size) { static_cast<PieceReader*>(user)->read(nullptr, size); },
      [](void* user) { return static_cast<PieceReader*>(user)->at_end() ? 1 : 0; }};
  decoder_budget = {.bytes_left = budget};
  DecodedPixels decoded;
  int channels_in_file = 0;
  decoded.samples.reset(stb::stbi_load_from_callbacks(
      &callbacks, &reader, &decoded.width, &decoded.height, &channels_in_file, channels));
  if (decoded.samples != nullptr) return decoded;
  if (decoder_budget.out_of_memory)
    throw Error(ErrorCode::out_of_memory, "no memory to decode the picture");
  if (decoder_budget.exceeded)
    throw Error(ErrorCode::image_too_large,
                "decoding needs more memory than a picture of this size should",
                {.expected = "at most " + std::to_string(budget) + " bytes"});
  throw Error(ErrorCode::bad_image, "the compressed picture is damaged",
              {.actual = stb::stbi_failure_reason()});
}

}  // namespace q2l::detail
