// SPDX-License-Identifier: MIT
#include "query2label/image/orientation.hpp"

#include <catch2/catch.hpp>
#include <string_view>

#include "query2label/image/decode.hpp"
#include "support/error_of.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

/// A TIFF directory of one tag, little-endian unless `big`.
Bytes tiff(unsigned value, bool big = false, unsigned type = 3, unsigned tag = 0x0112) {
  const auto number = [&](std::uint64_t n, std::size_t bytes) {
    return big ? big_endian(n, bytes) : little_endian(n, bytes);
  };
  return to_bytes(big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) +
         number(tag, 2) + number(type, 2) + number(1, 4) +
         (type == 4 ? number(value, 4) : number(value, 2) + Bytes(2)) + Bytes(4);
}

Bytes with_exif(const Bytes& jpeg, const Bytes& block) {
  return jpeg_before(jpeg, 0xDB,
                     jpeg_segment(0xE1, to_bytes(std::string_view("Exif\0\0", 6)) + block));
}

}  // namespace

TEST_CASE("The orientation is read in both byte orders", "[image]") {
  for (unsigned value = 1; value <= 8; ++value) {
    CHECK(exif_orientation(tiff(value)) == static_cast<int>(value));
    CHECK(exif_orientation(tiff(value, true)) == static_cast<int>(value));
    for (const bool big : {false, true})  // as a long, against the standard
      CHECK(exif_orientation(tiff(value, big, 4)) == static_cast<int>(value));
  }
}

TEST_CASE("A damaged EXIF block counts as none", "[image][hostile]") {
  CHECK(exif_orientation({}) == 1);
  CHECK(exif_orientation(tiff(0)) == 1);
  CHECK(exif_orientation(tiff(9)) == 1);
  CHECK(exif_orientation(tiff(6, false, 1)) == 1);  // neither short nor long
  CHECK(exif_orientation(tiff(0x10006, false, 4)) == 1);
  CHECK(exif_orientation(tiff(6, false, 3, 0x0113)) == 1);  // another tag
  CHECK(exif_orientation(to_bytes("XX") + Bytes(30)) == 1);
  const Bytes good = tiff(6);
  for (std::size_t length = 0; length < 20; ++length) {
    CAPTURE(length);
    CHECK(exif_orientation(std::span(good).first(length)) == 1);
  }
  Bytes bad = good;
  bad[2] = std::byte{43};
  CHECK(exif_orientation(bad) == 1);
  bad = good;
  bad[4] = bad[5] = bad[6] = bad[7] = std::byte{0xFF};  // the directory lies outside
  CHECK(exif_orientation(bad) == 1);
  bad = tiff(6, false, 3, 0x0113);
  bad[8] = bad[9] = std::byte{0xFF};  // 65,535 entries
  CHECK(exif_orientation(bad) == 1);
  bad[4] = std::byte{0};  // the directory is the header itself
  CHECK(exif_orientation(bad) == 1);
}

TEST_CASE("The first EXIF block of a JPEG counts, and damaged ones do not hinder it",
          "[image][hostile]") {
  const Bytes plain = image_fixture("420.jpg");
  const Image stored = decode_image(plain);
  CHECK(decode_image(with_exif(with_exif(plain, tiff(1)), tiff(6))) == stored);
  CHECK(decode_image(with_exif(with_exif(plain, tiff(6)), tiff(1))) ==
        apply_orientation(stored, 6));
  CHECK(decode_image(with_exif(plain, Bytes(3))) == stored);
  CHECK(decode_image(with_exif(plain, tiff(8) + Bytes(65'000))) == apply_orientation(stored, 8));
}

TEST_CASE("A PNG's eXIf chunk turns the picture too", "[image]") {
  const Bytes plain = image_fixture("rgb8.png");
  const std::size_t behind_header = 8 + 25;
  Bytes turned(plain.begin(), plain.begin() + behind_header);
  turned = turned + png_chunk("eXIf", tiff(3)) + Bytes(plain.begin() + behind_header, plain.end());
  CHECK(decode_image(turned) == apply_orientation(decode_image(plain), 3));
}

TEST_CASE("Each orientation puts the stored corners where EXIF says", "[image]") {
  // Pixels numbered by rows:  1 2 3 / 4 5 6
  Image image{3, 2, {}};
  for (std::uint8_t pixel = 1; pixel <= 6; ++pixel) image.rgb.insert(image.rgb.end(), 3, pixel);
  const auto turned = [&](int orientation) {
    const Image result = apply_orientation(image, orientation);
    std::string text = std::to_string(result.width) + ":";
    for (std::size_t i = 0; i < result.rgb.size(); i += 3) text += std::to_string(result.rgb[i]);
    return text;
  };
  CHECK(turned(1) == "3:123456");
  CHECK(turned(2) == "3:321654");
  CHECK(turned(3) == "3:654321");
  CHECK(turned(4) == "3:456123");
  CHECK(turned(5) == "2:142536");
  CHECK(turned(6) == "2:415263");
  CHECK(turned(7) == "2:635241");
  CHECK(turned(8) == "2:362514");
  CHECK(error_of([&] { turned(0); }).code() == ErrorCode::bad_argument);
  CHECK(error_of([&] { turned(9); }).place().subject == "orientation");
  image.rgb.pop_back();
  CHECK(error_of([&] { turned(6); }).place().subject == "apply_orientation");
}
