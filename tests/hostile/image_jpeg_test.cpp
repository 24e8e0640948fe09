// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "query2label/image/decode.hpp"
#include "query2label/image/jpeg_structure.hpp"
#include "support/allocation_watch.hpp"
#include "support/decode_error.hpp"
#include "support/image_fixtures.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

/// `file` with byte `at` of its first `marker` segment, counted from the marker, set to `value`.
Bytes with_segment_byte(Bytes file, unsigned marker, std::size_t at, unsigned value) {
  file.at(jpeg_find(file, marker) + at) = static_cast<std::byte>(value);
  return file;
}

constexpr unsigned sof0 = 0xC0, sof2 = 0xC2, dht = 0xC4, sos = 0xDA, dqt = 0xDB, dri = 0xDD,
                   app14 = 0xEE;

}  // namespace

TEST_CASE("A JPEG of an unsupported kind is refused by name at its frame header",
          "[image][hostile]") {
  const Bytes file = image_fixture("444.jpg");
  const std::pair<unsigned, std::string_view> kinds[] = {{0xC3, "lossless JPEG"},
                                                         {0xC5, "hierarchical JPEG"},
                                                         {0xC6, "hierarchical JPEG"},
                                                         {0xC7, "lossless JPEG"},
                                                         {0xC8, "a reserved JPEG extension"},
                                                         {0xC9, "arithmetic-coded JPEG"},
                                                         {0xCA, "arithmetic-coded JPEG"},
                                                         {0xCB, "lossless JPEG"},
                                                         {0xCD, "hierarchical JPEG"},
                                                         {0xCE, "hierarchical JPEG"},
                                                         {0xCF, "lossless JPEG"}};
  for (const auto& [marker, name] : kinds) {
    CAPTURE(marker);
    const Error error = decode_error(with_segment_byte(file, sof0, 1, marker));
    CHECK(error.code() == ErrorCode::image_unsupported);
    CHECK(error.detail() == name);
    CHECK(error.place().offset == jpeg_find(file, sof0));
  }
  const Error deep = decode_error(with_segment_byte(file, sof0, 4, 12));
  CHECK(deep.code() == ErrorCode::image_unsupported);
  CHECK(deep.place().actual == "12 bit");
}

TEST_CASE("A JPEG's size is judged by its frame header alone", "[image][hostile]") {
  const Bytes file = image_fixture("444.jpg");
  const std::size_t frame = jpeg_find(file, sof0);
  Bytes bomb(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(frame + 19));
  for (std::size_t i = 5; i < 9; ++i) bomb[frame + i] = std::byte{0xFF};
  const Error large = decode_error(bomb);
  CHECK(large.code() == ErrorCode::image_too_large);
  CHECK(large.place().offset == frame);
  CHECK(large.place().actual == "65535 x 65535");

  Bytes no_width = file;
  no_width[frame + 7] = no_width[frame + 8] = std::byte{0};
  CHECK(decode_error(no_width).code() == ErrorCode::bad_image);
  Bytes no_height = file;
  no_height[frame + 5] = no_height[frame + 6] = std::byte{0};
  CHECK(decode_error(no_height).code() == ErrorCode::bad_image);
}

TEST_CASE("A JPEG's frame header must describe possible components", "[image][hostile]") {
  const Bytes file = image_fixture("444.jpg");
  const auto code = [&](std::size_t at, unsigned value) {
    return decode_error(with_segment_byte(file, sof0, at, value)).code();
  };
  CHECK(code(9, 2) == ErrorCode::image_unsupported);  // components
  CHECK(code(9, 255) == ErrorCode::image_unsupported);
  CHECK(code(9, 0) == ErrorCode::image_unsupported);
  CHECK(code(9, 4) == ErrorCode::bad_image);      // more than the segment holds
  CHECK(code(11, 0x01) == ErrorCode::bad_image);  // sampling 0 x 1
  CHECK(code(11, 0x51) == ErrorCode::bad_image);
  CHECK(code(12, 4) == ErrorCode::bad_image);  // table number
  CHECK(code(13, 1) == ErrorCode::bad_image);  // name of the first component again
  Bytes ratio = with_segment_byte(file, sof0, 11, 0x31);
  ratio = with_segment_byte(ratio, sof0, 14, 0x21);
  CHECK(decode_error(ratio).code() == ErrorCode::image_unsupported);
  const Bytes frame(file.begin() + static_cast<std::ptrdiff_t>(jpeg_find(file, sof0)),
                    file.begin() + static_cast<std::ptrdiff_t>(jpeg_find(file, sof0) + 19));
  CHECK(decode_error(jpeg_before(file, sof0, frame)).detail() == "a second frame header");
}

TEST_CASE("A JPEG's tables must be whole and present", "[image][hostile]") {
  const Bytes file = image_fixture("444.jpg");
  const Error no_huffman = decode_error(jpeg_without(file, dht));
  CHECK(no_huffman.code() == ErrorCode::bad_image);
  CHECK(no_huffman.detail().find("no Huffman table") == 0);
  const Error no_quantization = decode_error(jpeg_without(file, dqt));
  CHECK(no_quantization.code() == ErrorCode::bad_image);
  CHECK(no_quantization.detail() == "no quantisation table for a component");

  const auto detail_with = [&](unsigned marker, const Bytes& content) {
    const Error error = decode_error(jpeg_before(file, sos, jpeg_segment(marker, content)));
    CHECK(error.code() == ErrorCode::bad_image);
    CHECK(error.place().offset == jpeg_find(file, sos));
    return error.detail();
  };
  Bytes lengths(17);
  CHECK(detail_with(dht, Bytes(5)) == "a damaged Huffman table");
  lengths[0] = std::byte{0x24};
  CHECK(detail_with(dht, lengths) == "a damaged Huffman table");
  lengths[0] = std::byte{0x10};
  lengths[1] = std::byte{3};  // three codes of one bit
  CHECK(detail_with(dht, lengths + Bytes(3)) == "a Huffman table with too many codes");
  lengths[1] = std::byte{0};
  lengths[15] = lengths[16] = std::byte{255};  // 510 symbols; would run over the decoder's table
  CHECK(detail_with(dht, lengths + Bytes(510)) == "a Huffman table with too many symbols");
  lengths[15] = std::byte{0};
  CHECK(detail_with(dht, lengths + Bytes(254)) == "a Huffman table with too many symbols");
  lengths[0] = lengths[16] = std::byte{0};
  lengths[2] = std::byte{1};
  CHECK(detail_with(dht, lengths + big_endian(16, 1)) ==
        "a DC Huffman table with an impossible symbol");
  CHECK(detail_with(dqt, Bytes(64)) == "a damaged quantisation table");
  CHECK(detail_with(dqt, big_endian(0x04, 1) + Bytes(64)) == "a damaged quantisation table");
  CHECK(detail_with(dqt, big_endian(0x20, 1) + Bytes(64)) == "a damaged quantisation table");
  CHECK(detail_with(dri, Bytes(3)) == "a restart interval of the wrong size");
  CHECK(detail_with(0x02, {}) == "an unknown marker");

  Bytes short_length =
      jpeg_before(file, sos, {std::byte{0xFF}, std::byte{0xFE}, std::byte{0}, std::byte{1}});
  CHECK(decode_error(short_length).detail() == "a segment is shorter than its own length field");
  CHECK(decode_error(jpeg_before(file, sos, {std::byte{0xFF}, std::byte{0xD8}})).detail() ==
        "a second start of image");
}

TEST_CASE("A JPEG's scans must be possible", "[image][hostile]") {
  const Bytes file = image_fixture("444.jpg");
  const auto code = [&](std::size_t at, unsigned value) {
    return decode_error(with_segment_byte(file, sos, at, value)).code();
  };
  CHECK(code(4, 0) == ErrorCode::bad_image);  // components in the scan
  CHECK(code(4, 2) == ErrorCode::bad_image);
  CHECK(code(5, 99) == ErrorCode::bad_image);    // an unknown one
  CHECK(code(5, 2) == ErrorCode::bad_image);     // one twice
  CHECK(code(6, 0x40) == ErrorCode::bad_image);  // table number
  CHECK(code(6, 0x22) == ErrorCode::bad_image);  // a table that was not defined
  CHECK(code(11, 1) == ErrorCode::bad_image);    // spectral selection in a sequential file
  CHECK(code(13, 0x10) == ErrorCode::bad_image);
  const Bytes progressive = image_fixture("444_progressive.jpg");
  CHECK(decode_error(with_segment_byte(progressive, sos, 12, 5)).code() == ErrorCode::bad_image);
  CHECK(decode_error(with_segment_byte(progressive, sos, 13, 0xE1)).code() == ErrorCode::bad_image);
  CHECK(decode_error(with_segment_byte(progressive, sos, 13, 0x10)).detail() ==
        "a refining scan before the first one");
  CHECK(decode_error(jpeg_without(file, sof0)).detail() == "a scan before the frame header");
  CHECK(
      decode_error({std::byte{0xFF}, std::byte{0xD8}, std::byte{0xFF}, std::byte{0xD9}}).detail() ==
      "the picture ends without a frame header");
}

TEST_CASE("A progressive JPEG of very many scans is refused", "[image][hostile]") {
  Bytes file = image_fixture("gray_progressive.jpg");
  file.resize(file.size() - 2);
  // Refinements of one coefficient, over and over: 12 bytes each.
  const Bytes scan = jpeg_segment(sos, to_bytes(std::string_view("\1\1\0\1\1\x10", 6))) + Bytes(2);
  for (int i = 0; i < 1000; ++i) file.insert(file.end(), scan.begin(), scan.end());
  const Error error = decode_error(file + to_bytes("\xff\xd9"));
  CHECK(error.code() == ErrorCode::limit_exceeded);
  CHECK(decode_error(image_fixture("444_progressive.jpg"), {}, {.jpeg_scans = 2}).code() ==
        ErrorCode::limit_exceeded);
}

TEST_CASE("A JPEG's scan needs a bit for every code, so a small file cannot be a large picture",
          "[image][hostile][I14]") {
  // Blocks of 8 x 8 samples in a picture of 64 x 64 and bits for each of them.
  const std::tuple<const char*, unsigned, std::size_t> cases[] = {
      {"gray.jpg", sof0, 64 * 2},
      {"444.jpg", sof0, 3 * 64 * 2},
      {"420.jpg", sof0, 64 * 3 / 2 * 2},
      {"gray_progressive.jpg", sof2, 64},
      {"444_progressive.jpg", sof2, 3 * 64},
      {"420_progressive.jpg", sof2, 64 * 3 / 2}};
  for (const auto& [name, frame, bits] : cases) {
    CAPTURE(name);
    Bytes file = image_fixture(name);
    const std::size_t at = jpeg_find(file, frame), data = jpeg_find(file, sos);
    file[at + 6] = file[at + 8] = std::byte{64};
    const std::size_t header = 2 + static_cast<std::size_t>(file[data + 2]) * 256 +
                               static_cast<std::size_t>(file[data + 3]);
    Bytes short_scan(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(data + header));
    // A stuffed zero and a fill byte count, too.
    const Bytes rest = to_bytes(std::string_view("\xff\0\xff", 3));
    const Bytes filled = short_scan + Bytes(bits / 8 - rest.size()) + rest;
    const Bytes cut = short_scan + Bytes(bits / 8 - rest.size() - 1) + rest;
    const Bytes end = to_bytes("\xff\xd9");
    CHECK_NOTHROW(detail::inspect_jpeg(filled + end, {}));
    const AllocationWatch watch;
    const Error error = error_of([&] { detail::inspect_jpeg(cut + end, {}); });
    CHECK(watch.total() < 64u << 10);
    CHECK(error.code() == ErrorCode::image_truncated);
    CHECK(error.place().offset == data);
    CHECK(error.detail() == "the scan is too short for its blocks, data is missing");
  }
}

TEST_CASE("A few kilobytes cannot ask for many scans of a large picture", "[image][hostile]") {
  Bytes file = image_fixture("gray_progressive.jpg");
  file.resize(file.size() - 2);
  const Bytes scan = jpeg_segment(sos, to_bytes(std::string_view("\1\1\0\1\1\x10", 6))) + Bytes(2);
  for (int i = 0; i < 20; ++i) file.insert(file.end(), scan.begin(), scan.end());
  file = file + to_bytes("\xff\xd9");
  CHECK_NOTHROW(decode_image(file));
  const std::size_t frame = jpeg_find(file, sof2);
  for (const std::size_t side : {5u, 7u}) {  // 8,000 = 0x1F40
    file[frame + side] = std::byte{0x1F};
    file[frame + side + 1] = std::byte{0x40};
  }
  CHECK(decode_error(file).code() == ErrorCode::image_truncated);
  // The scans of DC coefficients get a bit for each block.
  const Bytes scan_start = to_bytes(std::string_view("\xff\xda\0\x08\1\1", 6));
  for (auto at = file.begin(); true; at += 10) {
    at = std::search(at, file.end(), scan_start.begin(), scan_start.end());
    if (at == file.end()) break;
    if (at[7] == std::byte{0}) at = file.insert(at + 10, 1000 * 1000 / 8, std::byte{0}) - 10;
  }
  const Error error = decode_error(file);
  CHECK(error.code() == ErrorCode::limit_exceeded);
  CHECK(error.place().actual == "more than 1500000000 samples");
  // The fixture's first scan passes over 3 x 3 blocks.
  const Bytes small = image_fixture("gray_progressive.jpg");
  CHECK(decode_error(small, {}, {.jpeg_scan_samples = 9 * 64 - 1}).place().offset ==
        jpeg_find(small, sos));
}

TEST_CASE("Colours that decoders disagree about are refused", "[image][hostile]") {
  CHECK(decode_error(image_fixture("cmyk_no_adobe.jpg")).code() == ErrorCode::image_unsupported);
  const Bytes cmyk = image_fixture("cmyk.jpg");
  CHECK(decode_error(with_segment_byte(cmyk, app14, 15, 1)).code() == ErrorCode::image_unsupported);

  Bytes named = image_fixture("444.jpg");  // JFIF, so YCbCr, but components called R, G, B
  for (std::size_t i = 0; i < 3; ++i) {
    named = with_segment_byte(named, sof0, 10 + 3 * i, static_cast<unsigned char>("RGB"[i]));
    named = with_segment_byte(named, sos, 5 + 2 * i, static_cast<unsigned char>("RGB"[i]));
  }
  CHECK(decode_error(named).code() == ErrorCode::image_unsupported);
}

TEST_CASE(
    "A JPEG without its end or with scans missing is cut, also when an end is put behind the cut",
    "[image][hostile]") {
  const Bytes file = image_fixture("420.jpg");
  const Bytes no_end(file.begin(), file.end() - 2);
  const Error error = decode_error(no_end);
  CHECK(error.code() == ErrorCode::image_truncated);
  CHECK(error.place().offset == no_end.size());

  const Bytes progressive = image_fixture("444_progressive.jpg");
  const std::size_t second = jpeg_find(progressive, sos);
  Bytes only_header(progressive.begin(), progressive.begin() + static_cast<std::ptrdiff_t>(second));
  CHECK(decode_error(only_header + to_bytes("\xff\xd9")).code() == ErrorCode::image_truncated);

  // With a restart interval of one unit of 16 x 16 pixels there must be three markers among the
  // four units.
  const Bytes interval = jpeg_before(file, sos, jpeg_segment(dri, big_endian(1, 2)));
  CHECK(decode_error(interval).detail() == "the scan lacks restart markers, data is missing");
}

TEST_CASE("A cut JPEG can be accepted from its first scan on", "[image][hostile]") {
  for (const char* name : {"420.jpg", "444_progressive.jpg"}) {
    CAPTURE(name);
    const Bytes file = image_fixture(name);
    const Image whole = decode_image(file);
    const std::size_t data = jpeg_find(file, sos);
    for (std::size_t length = 3; length < file.size(); ++length) {
      CAPTURE(length);
      const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(decode_error(cut).code() == ErrorCode::image_truncated);
      try {
        const Image part = decode_image(cut, {.allow_truncated = true});
        CHECK(length > data);
        CHECK(part.width == whole.width);
        CHECK(part.height == whole.height);
      } catch (const Error& error) {
        // Zeros in place of the missing data may not be a code of the tables.
        CHECK((length <= data + 14 || error.code() == ErrorCode::bad_image));
      }
    }
    const Bytes no_end(file.begin(), file.end() - 2);
    CHECK(decode_image(no_end, {.allow_truncated = true}) == whole);
  }
}

TEST_CASE("What follows a scan that lacks data is not decoded, as nothing has checked it",
          "[image][hostile]") {
  const Bytes file = image_fixture("420.jpg");
  const Bytes interval = jpeg_before(file, sos, jpeg_segment(dri, big_endian(1, 2)));
  const std::size_t end = interval.size() - 2;  // of the scan: before the end of the image
  // More codes than stb's tables have room for.
  Bytes counts = big_endian(0x10, 1) + Bytes(16, std::byte{0xFF});
  const Bytes damaged = Bytes(interval.begin(), interval.end() - 2) +
                        jpeg_segment(0xC4, counts + Bytes(16 * 255)) + to_bytes("\xff\xd9");
  const auto structure = q2l::detail::inspect_jpeg(damaged, {}, true);
  CHECK(structure.truncated);
  CHECK(structure.usable_bytes == end);
}

TEST_CASE("A DNL marker that repeats the height is accepted, another is not", "[image][hostile]") {
  Bytes file = image_fixture("444.jpg");
  const Image image = decode_image(file);
  file.resize(file.size() - 2);
  const Bytes end = to_bytes("\xff\xd9");
  CHECK(decode_image(file + jpeg_segment(0xDC, big_endian(17, 2)) + end) == image);
  CHECK(decode_error(file + jpeg_segment(0xDC, big_endian(18, 2)) + end).code() ==
        ErrorCode::image_unsupported);
}
