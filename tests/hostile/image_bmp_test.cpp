// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <string>

#include "query2label/image/decode.hpp"
#include "support/decode_error.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

/// The file with a little-endian field of `count` bytes replaced.
Bytes with_field(Bytes file, std::size_t at, std::size_t count, std::uint64_t value) {
  const Bytes field = little_endian(value, count);
  for (std::size_t i = 0; i < count; ++i) file.at(at + i) = field[i];
  return file;
}

}  // namespace

TEST_CASE("A BMP's header must be of a known kind", "[image][hostile]") {
  const Bytes file = image_fixture("rgb24.bmp");
  const auto check = [&](std::size_t at, std::size_t count, std::uint64_t value, ErrorCode code,
                         std::size_t offset) {
    CAPTURE(at, value);
    const Error error = decode_error(with_field(file, at, count, value));
    CHECK(error.code() == code);
    CHECK(error.place().offset == offset);
  };
  check(10, 4, 0, ErrorCode::bad_image, 10);  // pixels inside the header
  check(10, 4, 0xFFFFFFFF, ErrorCode::image_truncated, file.size());
  check(14, 4, 41, ErrorCode::image_unsupported, 14);  // header size
  check(14, 4, 64, ErrorCode::image_unsupported, 14);  // OS/2 2
  check(26, 2, 0, ErrorCode::bad_image, 26);           // planes
  check(28, 2, 2, ErrorCode::image_unsupported, 28);   // bits
  check(28, 2, 0, ErrorCode::image_unsupported, 28);
  for (const unsigned compression : {1u, 2u, 4u, 5u, 6u, 0xFFFFFFFFu})
    check(30, 4, compression, ErrorCode::image_unsupported, 30);
  check(30, 4, 3, ErrorCode::bad_image, 28);  // masks for 24 bit
  CHECK(decode_error(image_fixture("run_length.bmp")).detail() == "a compressed BMP");
  CHECK(decode_error(with_field(image_fixture("rgb24_os2.bmp"), 24, 2, 8)).detail() ==
        "an OS/2 palette");
}

TEST_CASE("A BMP's size is judged by its header alone", "[image][hostile]") {
  const Bytes file = image_fixture("rgb24.bmp");
  const auto code = [&](std::uint64_t width, std::uint64_t height) {
    const Bytes header(file.begin(), file.begin() + 54);
    const Error error = decode_error(with_field(with_field(header, 18, 4, width), 22, 4, height));
    CHECK(error.place().offset == (error.code() == ErrorCode::image_truncated ? 54 : 18));
    return error.code();
  };
  CHECK(code(0x7FFFFFFF, 1) == ErrorCode::image_too_large);
  CHECK(code(0xFFFFFFFF, 1) == ErrorCode::image_too_large);  // -1
  CHECK(code(1, 0x80000000) == ErrorCode::image_too_large);  // INT_MIN
  CHECK(code(60'000, 60'000) == ErrorCode::image_too_large);
  CHECK(code(0, 1) == ErrorCode::bad_image);
  CHECK(code(1, 0) == ErrorCode::bad_image);
  CHECK(code(1000, 1000) == ErrorCode::image_truncated);
  CHECK(code(1000, 0u - 1000u) == ErrorCode::image_truncated);
}

TEST_CASE("A BMP pixel beyond the palette is refused where it stands", "[image][hostile]") {
  const Bytes eight = image_fixture("palette8.bmp");  // 50 colours
  const std::size_t pixels = 54 + 50 * 4;
  Bytes bad = eight;
  bad.at(pixels + 24 + 22) = std::byte{50};  // the last pixel of the second stored row
  const Error error = decode_error(bad);
  CHECK(error.code() == ErrorCode::bad_image);
  CHECK(error.place().offset == pixels + 24 + 22);
  CHECK(error.place().actual == "50");
  Bytes padding = eight;
  padding.at(pixels + 24 + 23) = std::byte{50};
  CHECK(decode_image(padding) == decode_image(eight));

  // Four bits with the palette moved out of the way except for two colours.
  Bytes four = image_fixture("palette4.bmp");
  four.erase(four.begin() + 54 + 8, four.begin() + 54 + 64);
  const Error nibble = decode_error(with_field(four, 10, 4, 54 + 8));
  CHECK(nibble.code() == ErrorCode::bad_image);
  CHECK(nibble.place().expected == "an index below 2");

  Bytes none = image_fixture("palette1.bmp");
  none.erase(none.begin() + 54, none.begin() + 62);
  CHECK(decode_error(with_field(none, 10, 4, 54)).detail() == "a palette of impossible size");
}

TEST_CASE("A cut BMP can be accepted; what is missing is black", "[image][hostile]") {
  const Bytes file = image_fixture("rgb24_downwards.bmp");
  const Image whole = decode_image(file);
  const std::size_t stride = 72, rows = 5;
  const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(54 + rows * stride));
  CHECK(decode_error(cut).code() == ErrorCode::image_truncated);
  const Image part = decode_image(cut, {.allow_truncated = true});
  const auto shown = static_cast<std::ptrdiff_t>(rows * 23 * 3);
  CHECK(std::equal(part.rgb.begin(), part.rgb.begin() + shown, whole.rgb.begin()));
  CHECK(std::all_of(part.rgb.begin() + shown, part.rgb.end(),
                    [](std::uint8_t value) { return value == 0; }));
}
