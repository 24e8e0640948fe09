// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <string_view>

#include "query2label/image/orientation.hpp"
#include "query2label/image/read_image.hpp"
#include "support/error_of.hpp"
#include "support/image_fixtures.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l;
using namespace q2l::test;

namespace {

int largest_difference(const Image& image, const Bytes& expected) {
  if (image.rgb.size() != expected.size()) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    largest = std::max(largest, std::abs(int{image.rgb[i]} - std::to_integer<int>(expected[i])));
  return largest;
}

}  // namespace

TEST_CASE("Every kind of picture decodes to the pixels that were drawn or that libjpeg gives",
          "[image]") {
  const auto fixtures = image_fixtures();
  REQUIRE(fixtures.size() >= 70);
  for (const ImageFixture& fixture : fixtures) {
    CAPTURE(fixture.name);
    const Image image = read_image(image_fixture_path(fixture.name));
    CHECK(image.width == fixture.width);
    CHECK(image.height == fixture.height);
    CHECK(largest_difference(image, image_fixture(fixture.expected)) <= fixture.tolerance);
  }
}

TEST_CASE("Orientation can be left as it is stored, and the background chosen", "[image]") {
  const Image upright = read_image(image_fixture_path("orientation6.jpg"));
  const Image stored =
      read_image(image_fixture_path("orientation6.jpg"), {.apply_orientation = false});
  CHECK(stored.width == upright.height);
  CHECK(stored.height == upright.width);
  CHECK(apply_orientation(stored, 6) == upright);

  const Image on_white = read_image(image_fixture_path("rgba8.png"));
  const Image on_blue = read_image(image_fixture_path("rgba8.png"), {.background = {0, 0, 255}});
  CHECK(std::vector<std::uint8_t>(on_white.rgb.begin(), on_white.rgb.begin() + 3) ==
        std::vector<std::uint8_t>{255, 255, 255});
  CHECK(std::vector<std::uint8_t>(on_blue.rgb.begin(), on_blue.rgb.begin() + 3) ==
        std::vector<std::uint8_t>{0, 0, 255});
}

TEST_CASE("The content decides about the format, not the name", "[image]") {
  const TemporaryFolder folder;
  std::filesystem::copy_file(image_fixture_path("rgb8.png"), folder / "photo.jpg");
  CHECK(read_image(folder / "photo.jpg") == read_image(image_fixture_path("rgb8.png")));
}

TEST_CASE("What is no picture is refused with a word on what it is", "[image]") {
  using namespace std::string_view_literals;
  const std::pair<std::string_view, std::string_view> cases[] = {
      {""sv, "an empty file"},
      {"\xff"sv, "unknown bytes"},
      {"some text, not a picture"sv, "unknown bytes"},
      {"%PDF-1.7\n"sv, "a PDF document"},
      {"RIFF\x10\0\0\0WEBPVP8 "sv, "a WebP picture"},
      {"\0\0\0\x20"
       "ftypheic\0\0\0\0"sv,
       "a HEIC picture"},
      {"\0\0\0\x20"
       "ftypavif\0\0\0\0"sv,
       "an AVIF picture"},
      {"\0\0\0\x20"
       "ftypisom\0\0\0\0"sv,
       "an MP4 or QuickTime film"},
      {"\0\0\0\x0cJXL \r\n\x87\n"sv, "a JPEG XL picture"},
      {"GIF89a\xff\xff\xff\xff"sv, "a GIF picture"},
      {"II*\0\x08\0\0\0"sv, "a TIFF picture"},
      {"<svg xmlns='http://www.w3.org/2000/svg'/>"sv, "an SVG drawing"},
      {"P5\n1 1\n65535\n\0\0"sv, "a PNM picture"},
      {"8BPS\0\1"sv, "a Photoshop document"},
      {"\x7f"
       "ELF\2\1\1"sv,
       "a program"},
      {"version https://git-lfs.github.com/spec/v1\n"sv, "a Git LFS pointer (run git lfs pull)"},
  };
  for (const auto& [content, kind] : cases) {
    CAPTURE(kind);
    const Error error =
        error_of([&content = content] { static_cast<void>(decode_image(to_bytes(content))); });
    CHECK(error.code() == ErrorCode::image_unsupported);
    CHECK(error.place().actual == kind);
    CHECK(error.place().offset == 0u);
  }
}

TEST_CASE("What follows the end of a picture does not matter", "[image]") {
  for (const char* name : {"420.jpg", "rgb8.png", "rgb24.bmp"}) {
    CAPTURE(name);
    const Bytes file = image_fixture(name);
    const Image image = decode_image(file);
    CHECK(decode_image(file + Bytes(1000)) == image);
    CHECK(decode_image(file + to_bytes("PK\3\4 a film or an archive \xff\xd8\xff")) == image);
  }
}

TEST_CASE("A picture's limits are those that the caller sets", "[image]") {
  for (const char* name : {"420.jpg", "rgb8.png", "rgb24.bmp"}) {
    CAPTURE(name);
    const Bytes file = image_fixture(name);
    const auto code_under = [&](const Limits& limits) {
      return error_of([&] { static_cast<void>(decode_image(file, {}, limits)); }).code();
    };
    CHECK(code_under({.image_pixels = 23 * 17 - 1}) == ErrorCode::image_too_large);
    CHECK(code_under({.image_side = 22}) == ErrorCode::image_too_large);
    CHECK(code_under({.image_file_bytes = file.size() - 1}) == ErrorCode::limit_exceeded);
    CHECK_NOTHROW(decode_image(
        file, {}, {.image_file_bytes = file.size(), .image_pixels = 23 * 17, .image_side = 23}));
  }
}

TEST_CASE("Reading a picture names the file in its errors", "[image]") {
  const TemporaryFolder folder;
  const auto error_for = [](const std::filesystem::path& path) {
    const Error error = error_of([&] { static_cast<void>(read_image(path)); });
    CHECK(error.place().path == path.native());
    return error.code();
  };
  CHECK(error_for(folder / "absent.jpg") == ErrorCode::io);
  CHECK(error_for(folder.path()) == ErrorCode::not_regular_file);
  CHECK(error_for("/dev/zero") == ErrorCode::not_regular_file);
  const auto pipe = folder / "pipe.jpg";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(error_for(pipe) == ErrorCode::not_regular_file);
  const auto loop = folder / "loop.jpg";
  std::filesystem::create_symlink(loop, loop);
  CHECK(error_for(loop) == ErrorCode::io);
  std::filesystem::create_symlink(folder / "nowhere", folder / "dangling.jpg");
  CHECK(error_for(folder / "dangling.jpg") == ErrorCode::io);
  CHECK(error_for(folder.write("text.jpg", "hello")) == ErrorCode::image_unsupported);
  const auto large = folder.write("large.jpg", "");
  std::filesystem::resize_file(large, std::uintmax_t{3} << 30);  // sparse
  CHECK(error_for(large) == ErrorCode::limit_exceeded);
}
