// SPDX-License-Identifier: MIT
#include <query2label/query2label.hpp>

// A host that carries stb_image of its own.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

std::size_t tags_of_second_unit(const char* model, const char* picture);

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool own_stb_works = stbi_failure_reason() == nullptr;
  return own_stb_works && tags_of_second_unit(argv[1], argv[2]) > 0 ? 0 : 1;
}
