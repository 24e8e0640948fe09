// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <string_view>

#include "query2label/image/decode.hpp"
#include "support/error_of.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

bool is_picture_error(ErrorCode code) {
  return code == ErrorCode::image_unsupported || code == ErrorCode::image_truncated ||
         code == ErrorCode::image_too_large || code == ErrorCode::bad_image ||
         code == ErrorCode::checksum_mismatch || code == ErrorCode::limit_exceeded;
}

/// Decodes and returns whether it was accepted; a refusal must be typed, and if it names a byte,
/// one of the file.
bool accepted(const Bytes& file, const DecodeOptions& options = {}, const Limits& limits = {}) {
  try {
    const Image image = decode_image(file, options, limits);
    REQUIRE(image.rgb.size() ==
            static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3);
    return true;
  } catch (const Error& error) {
    REQUIRE(is_picture_error(error.code()));
    REQUIRE(error.place().offset.value_or(0) <= file.size());
    return false;
  }
}

}  // namespace

TEST_CASE("A picture cut at any byte is refused as cut", "[image][hostile]") {
  for (const ImageFixture& fixture : image_fixtures()) {
    CAPTURE(fixture.name);
    const Bytes file = image_fixture(fixture.name);
    const std::size_t signature = fixture.name.ends_with(".png")   ? 8
                                  : fixture.name.ends_with(".jpg") ? 3
                                                                   : 2;
    for (std::size_t length = signature; length < file.size(); ++length) {
      CAPTURE(length);
      const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
      const Error error = error_of([&] { static_cast<void>(decode_image(cut)); });
      REQUIRE(error.code() == ErrorCode::image_truncated);
      REQUIRE(error.place().offset.value() <= length);
    }
  }
}

TEST_CASE("Every flipped bit of a PNG is found", "[image][hostile]") {
  for (const char* name : {"rgb8.png", "palette4i.png", "gray16_key.png", "rgba16.png"}) {
    CAPTURE(name);
    Bytes file = image_fixture(name);
    for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
      CAPTURE(bit);
      const auto mask = static_cast<std::byte>(1u << (bit % 8));
      file[bit / 8] ^= mask;
      REQUIRE_FALSE(accepted(file));
      file[bit / 8] ^= mask;
    }
  }
}

TEST_CASE("A damaged JPEG or BMP gives a picture or a typed error", "[image][hostile]") {
  std::mt19937 random(20260101);
  std::size_t refused = 0, read = 0;
  for (const char* name :
       {"420.jpg", "444_progressive.jpg", "422.jpg", "gray_progressive.jpg", "ycck.jpg",
        "orientation6.jpg", "palette4.bmp", "palette8.bmp", "rgb16_565.bmp", "rgba32_v4.bmp"}) {
    CAPTURE(name);
    const Bytes file = image_fixture(name);
    for (int round = 0; round < 400; ++round) {
      CAPTURE(round);
      Bytes damaged = file;
      const int changes = round % 4 == 0 ? 8 : 1;
      for (int i = 0; i < changes; ++i) {
        const std::size_t at = 4 + random() % (file.size() - 4);
        damaged[at] = round % 2 == 0 ? damaged[at] ^ static_cast<std::byte>(1u << (random() % 8))
                                     : static_cast<std::byte>(random());
      }
      ++(accepted(damaged, {.allow_truncated = round % 3 == 0}, {.image_pixels = 1'000'000})
             ? read
             : refused);
    }
  }
  CHECK(refused > 500);  // the structure's share of the bytes
  CHECK(read > 500);     // pixel data carries no checksum
}

TEST_CASE("Headers over random bytes are refused, a JPEG's or BMP's unless they make a picture",
          "[image][hostile]") {
  std::mt19937 random(7);
  for (const char* name : {"420.jpg", "rgb8.png", "rgb24.bmp"}) {
    const Bytes file = image_fixture(name);
    for (int round = 0; round < 200; ++round) {
      Bytes noise = file;
      for (std::size_t at = 16 + random() % 40; at < noise.size(); ++at)
        noise[at] = static_cast<std::byte>(random());
      CAPTURE(name, round);
      const bool was_accepted = accepted(noise, {}, {.image_pixels = 1'000'000});
      if (std::string_view(name) == "rgb8.png") REQUIRE_FALSE(was_accepted);
    }
  }
}
