// SPDX-License-Identifier: MIT
#include "query2label/image/resize.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "support/error_of.hpp"

using namespace q2l;

namespace {

Image random_image(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  Image image{width, height,
              std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3))};
  for (auto& value : image.rgb) value = static_cast<std::uint8_t>(random());
  return image;
}

/// One axis by the definition: a triangle around each output centre, in double, rounded to 8 bit.
/// [outer, from, inner] to [outer, to, inner].
std::vector<std::uint8_t> resize_axis(const std::vector<std::uint8_t>& in, int outer, int from,
                                      int to, int inner) {
  if (from == to) return in;
  std::vector<std::uint8_t> out;
  const double scale = static_cast<double>(from) / to, reach = std::max(scale, 1.0);
  for (int o = 0; o < outer; ++o)
    for (int x = 0; x < to; ++x)
      for (int i = 0; i < inner; ++i) {
        double sum = 0, total = 0;
        for (int source = 0; source < from; ++source) {
          const double weight =
              std::max(0.0, 1 - std::abs(source + 0.5 - (x + 0.5) * scale) / reach);
          sum += weight * in[static_cast<std::size_t>((o * from + source) * inner + i)];
          total += weight;
        }
        out.push_back(static_cast<std::uint8_t>(std::floor(sum / total + 0.5)));
      }
  return out;
}

}  // namespace

TEST_CASE("Resizing averages under a triangle along rows, then along columns", "[image]") {
  const int sizes[] = {1, 2, 3, 7, 16, 31, 67};
  for (const int from : sizes)
    for (const int to : sizes) {
      CAPTURE(from, to);
      const Image source = random_image(from, 68 - from, 3);
      const int height = std::max(1, to / 2);
      const Image resized = resize_bilinear(source, to, height);
      const auto rows = resize_axis(source.rgb, source.height, source.width, to, 3);
      const auto expected = resize_axis(rows, 1, source.height, height, to * 3);
      REQUIRE(resized.rgb.size() == expected.size());
      int largest = 0;
      for (std::size_t i = 0; i < expected.size(); ++i)
        largest = std::max(largest, std::abs(int{resized.rgb[i]} - int{expected[i]}));
      // Fixed point shifts a sum by less than 255 x 135 / 2^23 < 0.005, so only exact halves may
      // round otherwise.
      CHECK(largest <= 1);
    }
}

TEST_CASE("Resizing keeps a flat picture flat and an unchanged size untouched", "[image]") {
  const Image source = random_image(19, 5, 1);
  CHECK(resize_bilinear(source, 19, 5) == source);
  for (const int level : {0, 1, 128, 255}) {
    const Image flat{20000, 1, std::vector<std::uint8_t>(60000, static_cast<std::uint8_t>(level))};
    const Image small = resize_bilinear(flat, 32, 16);
    CHECK(
        std::all_of(small.rgb.begin(), small.rgb.end(), [&](int value) { return value == level; }));
  }
}

TEST_CASE("Resizing refuses empty pictures and sizes", "[image]") {
  const Image source = random_image(2, 2, 1);
  const std::pair<int, int> sizes[] = {{0, 2}, {2, 0}, {-1, 2}};
  for (const auto& [width, height] : sizes) {
    const Error error = test::error_of([&, width = width, height = height] {
      static_cast<void>(resize_bilinear(source, width, height));
    });
    CHECK(error.code() == ErrorCode::bad_argument);
    CHECK(error.place().subject == "resize_bilinear");
  }
  CHECK(test::error_of([] { static_cast<void>(resize_bilinear(Image{}, 2, 2)); }).code() ==
        ErrorCode::bad_argument);
  Image cut = source;
  cut.rgb.pop_back();
  CHECK(test::error_of([&] { static_cast<void>(resize_bilinear(cut, 3, 3)); }).code() ==
        ErrorCode::bad_argument);
}
