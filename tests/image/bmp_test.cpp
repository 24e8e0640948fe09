// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "query2label/image/decode.hpp"
#include "query2label/image/image_bytes.hpp"
#include "support/decode_error.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

constexpr std::ptrdiff_t pixels_field = 10, header_field = 14;

std::uint32_t field_of(const Bytes& file, std::ptrdiff_t at) {
  return detail::ImageBytes(file).le32(static_cast<std::size_t>(at));
}

void set_field(Bytes& file, std::ptrdiff_t at, std::uint64_t value) {
  const Bytes field = little_endian(value, 4);
  std::copy(field.begin(), field.end(), file.begin() + at);
}

/// The BMP with `inserted` at `at` before its pixels.
Bytes bmp_with(Bytes file, std::ptrdiff_t at, const Bytes& inserted) {
  set_field(file, pixels_field, field_of(file, pixels_field) + inserted.size());
  file.insert(file.begin() + at, inserted.begin(), inserted.end());
  return file;
}

Bytes bmp_with_gap(const Bytes& file, const Bytes& gap) {
  return bmp_with(file, field_of(file, pixels_field), gap);
}

}  // namespace

TEST_CASE("What lies between a BMP's headers and its pixels does not matter", "[image]") {
  for (const char* name : {"rgb16_555.bmp", "rgb16_565.bmp", "rgb24.bmp", "rgb24_downwards.bmp",
                           "rgb24_os2.bmp", "rgb24_v5.bmp", "rgb32_padding.bmp", "rgba32_v4.bmp"})
    for (const std::size_t bytes : {1u, 2u, 68u, 1024u, 5000u}) {
      CAPTURE(name, bytes);
      const Bytes file = image_fixture(name);
      CHECK(decode_image(bmp_with_gap(file, Bytes(bytes, std::byte{77}))) == decode_image(file));
    }
}

TEST_CASE("A BMP of 24 bits may have a table of colours for screens that show fewer", "[image]") {
  const Bytes plain = image_fixture("rgb24.bmp");
  Bytes file = bmp_with_gap(plain, Bytes(256 * 4, std::byte{99}));
  set_field(file, 46, 256);  // colours in the table
  CHECK(decode_image(file) == decode_image(plain));
}

TEST_CASE("A palette of all colours may have padding behind it", "[image]") {
  const Bytes short_palette = image_fixture("palette8.bmp");  // 50 colours
  const Bytes whole = bmp_with_gap(short_palette, Bytes(206 * 4));
  CHECK(decode_image(whole) == decode_image(short_palette));
  CHECK(decode_image(bmp_with_gap(whole, Bytes(8, std::byte{88}))) == decode_image(short_palette));
  const Bytes one_bit = image_fixture("palette1.bmp");
  CHECK(decode_image(bmp_with_gap(one_bit, Bytes(4000))) == decode_image(one_bit));
}

TEST_CASE("A BMP header of version 3 holds the masks, that of opacity too", "[image]") {
  const Bytes opaque = image_fixture("rgb16_565.bmp");
  REQUIRE(field_of(opaque, header_field) == 40);
  Bytes file = bmp_with(opaque, 66, Bytes(4));  // no mask of opacity
  set_field(file, header_field, 56);
  CHECK(decode_image(file) == decode_image(opaque));

  const Bytes transparent = image_fixture("rgba32_v4.bmp");
  REQUIRE(field_of(transparent, header_field) == 108);
  file = transparent;
  file.erase(file.begin() + 14 + 56, file.begin() + 14 + 108);
  set_field(file, pixels_field, field_of(transparent, pixels_field) - (108 - 56));
  set_field(file, header_field, 56);
  CHECK(decode_image(file) == decode_image(transparent));
  const DecodeOptions on_black{.background = {0, 0, 0}};
  CHECK(decode_image(file, on_black) == decode_image(transparent, on_black));
  CHECK_FALSE(decode_image(file, on_black) == decode_image(file));
}

TEST_CASE("A BMP's pixels cannot begin within the masks behind its header", "[image][hostile]") {
  Bytes file = image_fixture("rgb16_565.bmp");
  set_field(file, pixels_field, 62);
  const Error error = decode_error(file);
  CHECK(error.code() == ErrorCode::bad_image);
  CHECK(error.place().offset == 10u);
}

TEST_CASE("Where a BMP is cut in its last row, colours beyond the palette are black",
          "[image][hostile]") {
  Bytes file = image_fixture("palette8.bmp");
  const std::size_t pixels = field_of(file, pixels_field);
  file.resize(pixels + 5);
  file.at(pixels + 4) = std::byte{200};  // of 50
  const Image image = decode_image(file, {.allow_truncated = true});
  const std::size_t last_row = static_cast<std::size_t>((image.height - 1) * image.width);
  for (std::size_t c = 0; c < 3; ++c) CHECK(image.rgb.at((last_row + 4) * 3 + c) == 0);
}
