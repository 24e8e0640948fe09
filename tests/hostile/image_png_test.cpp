// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "query2label/image/decode.hpp"
#include "support/decode_error.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

constexpr std::size_t first_chunk = 8, second_chunk = 8 + 25;

/// The compressed rows of one black pixel, 8-bit grey: a stored block.
Bytes one_gray_pixel() {
  return to_bytes(std::string_view("\x78\x01\x01\x02\x00\xfd\xff\x00\x00\x00\x02\x00\x01", 13));
}
const Bytes end_chunk = png_chunk("IEND", {});

}  // namespace

TEST_CASE("A hand-made PNG of one pixel is read", "[image][hostile]") {
  const Image image = decode_image(png_signature() + png_header(1, 1, 8, 0) +
                                   png_chunk("IDAT", one_gray_pixel()) + end_chunk);
  CHECK(image == Image{1, 1, {0, 0, 0}});
}

TEST_CASE("A PNG's chunks must stand in a possible order", "[image][hostile]") {
  const Bytes start = png_signature(), header = png_header(1, 1, 8, 0);
  const Bytes data = png_chunk("IDAT", one_gray_pixel()), text = png_chunk("tEXt", to_bytes("a"));
  const auto detail = [&](const Bytes& chunks, std::size_t offset,
                          ErrorCode code = ErrorCode::bad_image) {
    const Error error = decode_error(start + chunks);
    CHECK(error.code() == code);
    CHECK(error.place().offset == offset);
    return error.detail();
  };
  CHECK(detail(end_chunk, first_chunk) == "the first chunk is not IHDR");
  CHECK(detail(data + header, first_chunk) == "the first chunk is not IHDR");
  CHECK(detail(header + header + data + end_chunk, second_chunk) == "a second IHDR");
  CHECK(detail(header + end_chunk, second_chunk) == "no pixels");
  CHECK(detail(header + png_chunk("IDAT", {}) + end_chunk, second_chunk + 12) == "no pixels");
  CHECK(detail(header + data + text + data + end_chunk, second_chunk + data.size() + text.size()) ==
        "pixels in two separate places");
  CHECK(detail(header + data + png_chunk("IEND", Bytes(1)), second_chunk + data.size()) ==
        "IEND is not empty");
  CHECK(detail(header + png_chunk("ABCD", {}) + data + end_chunk, second_chunk,
               ErrorCode::image_unsupported) == "an unknown chunk that must be understood");
  CHECK(detail(header + png_chunk("a!cd", {}) + data + end_chunk, second_chunk) ==
        "a chunk name that is not four letters");
  CHECK(detail(png_chunk("CgBI", Bytes(4)) + header + data, first_chunk,
               ErrorCode::image_unsupported) == "Apple's private variant of PNG");
  CHECK_NOTHROW(decode_image(start + header + text + data + text + end_chunk));
  // No IEND at all.
  const Error cut = decode_error(start + header + data);
  CHECK(cut.code() == ErrorCode::image_truncated);
  CHECK(cut.place().offset == second_chunk + data.size());
}

TEST_CASE("A chunk's length is checked against the file before anything is allocated",
          "[image][hostile]") {
  const Bytes start = png_signature() + png_header(1, 1, 8, 0);
  const Error longer =
      decode_error(start + big_endian(0x40000000, 4) + to_bytes("IDAT") + Bytes(4));
  CHECK(longer.code() == ErrorCode::image_truncated);
  CHECK(longer.place().offset == second_chunk + 8);
  const Error beyond =
      decode_error(start + big_endian(0x80000000, 4) + to_bytes("IDAT") + Bytes(4));
  CHECK(beyond.code() == ErrorCode::bad_image);
  CHECK(beyond.detail() == "a chunk longer than the format allows");
}

TEST_CASE("A wrong checksum names the chunk", "[image][hostile]") {
  Bytes file = image_fixture("rgb8.png");
  file.at(second_chunk + 10) ^= std::byte{1};
  const Error error = decode_error(file);
  CHECK(error.code() == ErrorCode::checksum_mismatch);
  CHECK(error.place().subject == "IDAT");
  CHECK(error.place().offset == second_chunk);
}

TEST_CASE("A PNG's size and format are judged by IHDR alone", "[image][hostile]") {
  const auto code = [](const Bytes& header) {
    return decode_error(png_signature() + header).code();
  };
  CHECK(code(png_header(60'000, 60'000, 1, 0)) == ErrorCode::image_too_large);
  CHECK(code(png_header(0xFFFFFFFF, 1, 8, 2)) == ErrorCode::image_too_large);
  CHECK(code(png_header(0, 1, 8, 2)) == ErrorCode::bad_image);
  CHECK(code(png_header(1, 0, 8, 2)) == ErrorCode::bad_image);
  for (const auto& [depth, type] : {std::pair{3, 0},
                                    {0, 0},
                                    {32, 0},
                                    {4, 2},
                                    {16, 3},
                                    {4, 4},
                                    {1, 6},
                                    {8, 1},
                                    {8, 5},
                                    {8, 7}}) {
    CAPTURE(depth, type);
    CHECK(code(png_header(1, 1, static_cast<unsigned>(depth), static_cast<unsigned>(type))) ==
          ErrorCode::bad_image);
  }
  CHECK(code(png_chunk("IHDR", Bytes(12))) == ErrorCode::bad_image);
  for (std::size_t field = 10; field <= 12; ++field) {
    Bytes content = big_endian(1, 4) + big_endian(1, 4) + Bytes(5);
    content[8] = std::byte{8};
    content[field] = std::byte{2};
    CHECK(code(png_chunk("IHDR", content)) == ErrorCode::image_unsupported);
  }
}

TEST_CASE("A PNG of more memory a pixel may have fewer of them", "[image][hostile][B3][I6]") {
  const Limits limits{.image_pixels = 40};
  const auto refused_at = [&](unsigned depth, unsigned interlace) {
    for (unsigned width = 1;; ++width) {
      const Bytes content = big_endian(width, 4) + big_endian(1, 4) + big_endian(depth, 1) +
                            big_endian(6, 1) + Bytes(2) + big_endian(interlace, 1);
      const Error error = decode_error(png_signature() + png_chunk("IHDR", content), {}, limits);
      if (error.code() == ErrorCode::image_truncated) continue;  // nothing behind the header
      CHECK(error.code() == ErrorCode::image_too_large);
      CHECK(error.place().expected.ends_with(std::to_string(width - 1) + " pixels in all"));
      return width;
    }
  };
  CHECK(refused_at(8, 0) == 41);
  CHECK(refused_at(16, 0) == 21);
  CHECK(refused_at(8, 1) == 21);
  CHECK(refused_at(16, 1) == 11);
}

TEST_CASE("A palette and its transparency must fit the format", "[image][hostile]") {
  const Bytes start = png_signature();
  const Bytes data = png_chunk("IDAT", one_gray_pixel()), indexed = png_header(1, 1, 8, 3);
  const Bytes two_colors = png_chunk("PLTE", Bytes(6)), one_opacity = png_chunk("tRNS", Bytes(1));
  const auto detail = [&](const Bytes& chunks) {
    const Error error = decode_error(start + chunks + data + end_chunk);
    CHECK(error.code() == ErrorCode::bad_image);
    return error.detail();
  };
  CHECK(detail(indexed) == "pixels without a palette");
  CHECK(detail(indexed + png_chunk("PLTE", Bytes(5))) == "PLTE of an impossible size");
  CHECK(detail(indexed + png_chunk("PLTE", {})) == "PLTE of an impossible size");
  CHECK(detail(indexed + png_chunk("PLTE", Bytes(3 * 257))) == "PLTE of an impossible size");
  CHECK(detail(indexed + two_colors + two_colors) == "a second PLTE");
  CHECK(detail(png_header(1, 1, 8, 0) + two_colors) == "PLTE in a grey picture");
  CHECK(detail(indexed + two_colors + data + two_colors) == "PLTE after the pixels");
  CHECK(detail(indexed + one_opacity + two_colors) == "tRNS does not fit the pixel format");
  CHECK(detail(indexed + two_colors + png_chunk("tRNS", Bytes(3))) ==
        "tRNS does not fit the pixel format");
  CHECK(detail(indexed + two_colors + one_opacity + one_opacity) == "a second tRNS");
  CHECK(detail(indexed + two_colors + data + one_opacity) == "tRNS after the pixels");
  CHECK(detail(png_header(1, 1, 8, 4) + png_chunk("tRNS", Bytes(2))) ==
        "tRNS does not fit the pixel format");
  CHECK(detail(png_header(1, 1, 8, 0) + png_chunk("tRNS", Bytes(6))) ==
        "tRNS does not fit the pixel format");
  const Image image = decode_image(start + indexed + two_colors + one_opacity + data + end_chunk);
  CHECK(image == Image{1, 1, {255, 255, 255}});
}

TEST_CASE("Compressed rows that are damaged, short or far too long are refused",
          "[image][hostile]") {
  const auto decode = [](const Bytes& header, const Bytes& data) {
    return decode_error(png_signature() + header + png_chunk("IDAT", data) + end_chunk).code();
  };
  CHECK(decode(png_header(1, 1, 8, 0), to_bytes("not zlib")) == ErrorCode::bad_image);
  CHECK(decode(png_header(1, 1, 8, 0), Bytes(1)) == ErrorCode::bad_image);
  CHECK(decode(png_header(2, 1, 8, 0), one_gray_pixel()) == ErrorCode::bad_image);
  // Half a million stored zeros for one pixel: beyond what decoding one pixel may allocate.
  Bytes flood = to_bytes("\x78\x01");
  for (int block = 0; block < 8; ++block)
    flood = flood + to_bytes(std::string_view(block == 7 ? "\1" : "\0", 1)) +
            little_endian(65535, 2) + little_endian(0, 2) + Bytes(65535);
  CHECK(decode(png_header(1, 1, 8, 0), flood) == ErrorCode::image_too_large);
  Bytes wrong_filter = one_gray_pixel();
  wrong_filter[7] = std::byte{9};
  CHECK(decode(png_header(1, 1, 8, 0), wrong_filter) == ErrorCode::bad_image);
}
