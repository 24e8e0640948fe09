// SPDX-License-Identifier: MIT
#include "query2label/image/heat_map.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/error_of.hpp"

using namespace q2l;

namespace {

Image flat(int width, int height, std::uint8_t level) {
  return {width, height,
          std::vector<std::uint8_t>(
              static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, level)};
}

std::array<int, 3> pixel(const Image& image, int x, int y) {
  const std::size_t at = (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                          static_cast<std::size_t>(x)) *
                         3;
  return {image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]};
}

double lightness(const Color& color) {
  return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2];
}

}  // namespace

TEST_CASE("The colours of a heat map grow lighter all along", "[image]") {
  for (int i = 0; i < 100; ++i) {
    const auto step = static_cast<float>(i);
    CHECK(lightness(heat_color(step / 100)) < lightness(heat_color((step + 1) / 100)));
  }
  CHECK(heat_color(-1) == heat_color(0));
  CHECK(heat_color(2) == heat_color(1));
}

TEST_CASE("A heat map is hot where the attention is and names what it shows", "[image]") {
  std::vector<float> attention(5 * 4, 0.02f);
  attention[1 * 4 + 2] = 1 - 19 * 0.02f;  // row 1, column 2 of 5 x 4
  const Image map = draw_heat_map(flat(640, 500, 128), attention, 5, 4, "dog", 0.5f);
  CHECK(map.width == 640);
  CHECK(map.height > 500);
  const auto hot = pixel(map, 400, 150), cold = pixel(map, 80, 450);
  CHECK(hot[0] > 180);  // pale yellow over grey
  CHECK(hot[0] > hot[2]);
  CHECK(cold[2] > cold[0]);  // a touch of deep blue
  CHECK(cold[0] < 128);
  // At a cell's centre the spline meets the cell's value: full heat for the hottest, none for the
  // others.
  Image expected = flat(2, 1, 128);
  detail::tint(expected.rgb.data(), 1.0f);
  detail::tint(expected.rgb.data() + 3, 0.0f);
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(hot[c] - int{expected.rgb[c]}) <= 1);
    CHECK(std::abs(cold[c] - int{expected.rgb[3 + c]}) <= 1);
  }
  // The legend differs with the label and with the score.
  CHECK_FALSE(map == draw_heat_map(flat(640, 500, 128), attention, 5, 4, "cat", 0.5f));
  CHECK_FALSE(map == draw_heat_map(flat(640, 500, 128), attention, 5, 4, "dog", 0.6f));
}

TEST_CASE("A heat map fits any picture, grid and label", "[image]") {
  const std::string long_label(300, 'W');
  for (const auto& [width, height] :
       {std::pair{1, 1}, {3, 2000}, {2000, 3}, {320, 200}, {1500, 1100}})
    for (const auto& [down, across] :
         {std::pair<std::size_t, std::size_t>{1, 1}, {1, 7}, {14, 14}}) {
      CAPTURE(width, height, down, across);
      const std::vector<float> even(down * across, 1.0f / static_cast<float>(down * across));
      const Image map =
          draw_heat_map(flat(width, height, 200), even, down, across, long_label, 1.0f);
      CHECK(map.width >= 240);
      CHECK(map.width <= 1024);
      CHECK(map.rgb.size() ==
            static_cast<std::size_t>(map.width) * static_cast<std::size_t>(map.height) * 3);
      CHECK_NOTHROW(draw_heat_map(flat(width, height, 200), even, down, across, "", 0.0f));
    }
}

TEST_CASE("Text is drawn a glyph a character, a box for what is not ASCII", "[image]") {
  const auto drawn = [](std::string_view text) {
    Image canvas = flat(60, 8, 0);
    detail::draw_text(canvas, 0, 0, text, 1, white);
    return canvas;
  };
  CHECK(detail::glyph_count("caf\xc3\xa9") == 4);
  CHECK(drawn("\xc3\xa9") == drawn("\xe7\x8a\xac"));  // one box each
  CHECK_FALSE(drawn("\xc3\xa9") == drawn("?"));
  CHECK(drawn(" ") == flat(60, 8, 0));
  // The bar of an l stands in the third column, and its stroke to the left at the top.
  const Image letter = drawn("l");
  for (int y = 0; y < 7; ++y) CHECK(pixel(letter, 2, y)[0] == 255);
  CHECK(pixel(letter, 1, 0)[0] == 255);
  CHECK(pixel(letter, 3, 0)[0] == 0);
  for (std::size_t a = 0; a < detail::glyphs.size(); ++a)
    for (std::size_t b = 0; b < a; ++b) CHECK(detail::glyphs[a] != detail::glyphs[b]);
}

TEST_CASE("A heat map refuses attention that is none", "[image]") {
  const Image picture = flat(4, 4, 0);
  const auto code = [&](const std::vector<float>& attention, std::size_t down, std::size_t across) {
    const Error error = test::error_of(
        [&] { static_cast<void>(draw_heat_map(picture, attention, down, across, "dog", 0)); });
    CHECK(error.place().subject == "dog");
    return error.code();
  };
  CHECK(code({1.0f}, 1, 2) == ErrorCode::bad_argument);
  CHECK(code({}, 0, 0) == ErrorCode::bad_argument);
  CHECK(code({}, std::size_t{1} << 32, std::size_t{1} << 32) == ErrorCode::bad_argument);
  CHECK(code({0.5f, std::numeric_limits<float>::quiet_NaN()}, 1, 2) == ErrorCode::bad_argument);
  CHECK(code({1.5f, -0.5f}, 1, 2) == ErrorCode::bad_argument);
  CHECK(test::error_of([&] {
          static_cast<void>(draw_heat_map(picture, std::vector{1.0f}, 1, 1, "dog",
                                          std::numeric_limits<float>::quiet_NaN()));
        }).code() == ErrorCode::bad_argument);
  CHECK(test::error_of([] {
          static_cast<void>(draw_heat_map(Image{}, std::vector{1.0f}, 1, 1, "dog", 0));
        }).code() == ErrorCode::bad_argument);
  Image cut = picture;
  cut.rgb.pop_back();
  for (const Image& wrong : {Image{}, Image{0, 400, {}}, Image{400, 0, {}}, cut})
    CHECK(test::error_of([&] {
            static_cast<void>(draw_heat_map(wrong, std::vector{1.0f}, 1, 1, "dog", 0));
          }).code() == ErrorCode::bad_argument);
}
