// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <string>

#include "query2label/image/decode.hpp"
#include "query2label/image/stb_decoder.hpp"
#include "support/allocation_watch.hpp"
#include "support/error_of.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

/// A JPEG's frame header for a picture of 65,535 x 65,535.
Bytes jpeg_bomb() {
  const Bytes file = image_fixture("420.jpg");
  const std::size_t frame = jpeg_find(file, 0xC0);
  Bytes bomb(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(frame));
  return bomb + jpeg_segment(0xC0, big_endian(8, 1) + big_endian(0xFFFFFFFF, 4) + big_endian(1, 1) +
                                       big_endian(0x011100, 3));
}

Bytes bmp_bomb() {
  return to_bytes("BM") + Bytes(8) + little_endian(54, 4) + little_endian(40, 4) +
         little_endian(60'000, 4) + little_endian(60'000, 4) + little_endian(1, 2) +
         little_endian(24, 2) + Bytes(24);
}

}  // namespace

TEST_CASE("A header that asks for too many pixels costs no memory", "[image][hostile]") {
  const Bytes bombs[] = {
      jpeg_bomb(), bmp_bomb(),
      png_signature() + png_header(60'000, 60'000, 1, 0) + png_chunk("IEND", {})};
  for (const Bytes& bomb : bombs) {
    constexpr std::uint64_t untouched = 12345;
    detail::decoder_budget.bytes_left = untouched;
    const AllocationWatch watch;
    const Error error = error_of([&] { static_cast<void>(decode_image(bomb)); });
    CHECK(watch.total() < 64u << 10);
    CHECK(detail::decoder_budget.bytes_left == untouched);  // the decoder was never asked
    CHECK(error.code() == ErrorCode::image_too_large);
  }
}

TEST_CASE("No allocation is larger than the picture and the decoder's budget is small",
          "[image][hostile]") {
  for (const ImageFixture& fixture : image_fixtures()) {
    CAPTURE(fixture.name);
    const Bytes file = image_fixture(fixture.name);
    const AllocationWatch watch;
    const Image image = decode_image(file);
    CHECK(watch.largest() <= std::max<std::size_t>(image.rgb.size(), 8192));
    // All the decoder's blocks came back to the budget that it was given.
    CHECK(detail::decoder_budget.bytes_left <= file.size() + 400'000);
    CHECK(detail::decoder_budget.bytes_left >= detail::decoder_slack_bytes);
  }
}

TEST_CASE("A decoder that has too little memory ends with a typed error", "[image][hostile]") {
  for (const char* name : {"444_progressive.jpg", "rgba16i.png", "rgb24.bmp"}) {
    const Bytes file = image_fixture(name);
    const std::span<const std::byte> pieces[] = {file};
    bool decoded = false;
    for (std::uint64_t budget = 0; !decoded; budget += 512) {
      CAPTURE(name, budget);
      REQUIRE(budget < 200'000);
      try {
        decoded = detail::decode_with_stb(pieces, 3, budget).samples != nullptr;
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::image_too_large);
      }
    }
  }
}
