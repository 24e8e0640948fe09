// SPDX-License-Identifier: MIT
#include "query2label/image/image.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "support/error_of.hpp"

using namespace q2l;

TEST_CASE("A host's pixels are read in any channel order and stride", "[image]") {
  // Two rows of two pixels of four bytes, with two bytes of padding behind each row.
  const std::vector<std::uint8_t> bytes{10, 20, 30, 255, 40, 50, 60, 0,   99, 99,
                                        70, 80, 90, 128, 1,  2,  3,  255, 99, 99};
  const auto read = [&](ChannelOrder order) {
    return to_rgb({.pixels = bytes.data(),
                   .width = 2,
                   .height = 2,
                   .row_stride = 10,
                   .pixel_stride = 4,
                   .order = order})
        .rgb;
  };
  using Pixels = std::vector<std::uint8_t>;
  CHECK(read(ChannelOrder::rgb) == Pixels{10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3});
  CHECK(read(ChannelOrder::bgr) == Pixels{30, 20, 10, 60, 50, 40, 90, 80, 70, 3, 2, 1});
  CHECK(read(ChannelOrder::gray) == Pixels{10, 10, 10, 40, 40, 40, 70, 70, 70, 1, 1, 1});
  // Opacity 0 is white; 128 of 70, 80, 90 over white is 162.1, 167.2, 172.2.
  CHECK(read(ChannelOrder::rgba) == Pixels{10, 20, 30, 255, 255, 255, 162, 167, 172, 1, 2, 3});
  CHECK(read(ChannelOrder::bgra) == Pixels{30, 20, 10, 255, 255, 255, 172, 167, 162, 3, 2, 1});
}

TEST_CASE("A negative row stride reads a picture from below", "[image]") {
  const std::vector<std::uint8_t> bytes{1, 2, 3, 4, 5, 6};
  const Image image = to_rgb(
      {.pixels = bytes.data() + 3, .width = 1, .height = 2, .row_stride = -3, .pixel_stride = 3});
  CHECK(image == Image{1, 2, {4, 5, 6, 1, 2, 3}});
}

TEST_CASE("Strides of 0 stand for pixels and rows without gaps", "[image]") {
  const std::vector<std::uint8_t> bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  using Pixels = std::vector<std::uint8_t>;
  CHECK(to_rgb({bytes.data(), 2, 2}).rgb == Pixels{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(to_rgb({.pixels = bytes.data(), .width = 1, .height = 2, .row_stride = 6}).rgb ==
        Pixels{1, 2, 3, 7, 8, 9});
  CHECK(
      to_rgb({.pixels = bytes.data(), .width = 2, .height = 1, .order = ChannelOrder::gray}).rgb ==
      Pixels{1, 1, 1, 2, 2, 2});
  CHECK(to_rgb({.pixels = bytes.data(),
                .width = 2,
                .height = 2,
                .pixel_stride = 4,
                .order = ChannelOrder::bgr})
            .rgb ==  // BGRX
        Pixels{3, 2, 1, 7, 6, 5, 11, 10, 9, 15, 14, 13});
  CHECK(to_rgb({.pixels = bytes.data() + 3, .width = 2, .height = 1, .pixel_stride = -3}).rgb ==
        Pixels{4, 5, 6, 1, 2, 3});
}

TEST_CASE("A view without pixels is refused", "[image]") {
  const std::uint8_t pixel[4]{};
  for (const ImageView& view : {ImageView{nullptr, 1, 1, 3, 3, ChannelOrder::rgb},
                                ImageView{pixel, 0, 1, 3, 3, ChannelOrder::rgb},
                                ImageView{pixel, 1, -1, 3, 3, ChannelOrder::rgb},
                                ImageView{pixel, 1, 1, 3, 2, ChannelOrder::rgb},
                                ImageView{pixel, 1, 1, 3, -3, ChannelOrder::bgra},
                                ImageView{pixel, 1, 1, 3, 3, ChannelOrder{9}}}) {
    const Error error = test::error_of([&] { static_cast<void>(to_rgb(view)); });
    CHECK(error.code() == ErrorCode::bad_argument);
  }
}

TEST_CASE("A picture is valid whose pixels are exactly its width x height", "[image]") {
  const auto error = [](const Image& image) {
    return test::error_of([&] { require_valid(image, "here"); });
  };
  CHECK_NOTHROW(require_valid({2, 1, std::vector<std::uint8_t>(6)}, "here"));
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{5}, std::size_t{7}}) {
    const Error wrong = error({2, 1, std::vector<std::uint8_t>(bytes)});
    CHECK(wrong.code() == ErrorCode::bad_argument);
    CHECK(wrong.place().subject == "here");
    CHECK(wrong.place().expected == "6 bytes");
  }
  for (const Image& empty : {Image{}, Image{0, 1, {}}, Image{-1, -2, std::vector<std::uint8_t>(6)}})
    CHECK(error(empty).code() == ErrorCode::bad_argument);
  CHECK(error({2147483647, 2147483647, {}}).code() == ErrorCode::bad_argument);
}
