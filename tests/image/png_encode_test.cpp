// SPDX-License-Identifier: MIT
#include "query2label/image/png_encode.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <random>

#include "query2label/image/read_image.hpp"
#include "support/allocation_watch.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l;

namespace {

Image noise(int width, int height) {
  std::mt19937 random(9);
  Image image{width, height,
              std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3))};
  for (auto& value : image.rgb) value = static_cast<std::uint8_t>(random());
  return image;
}

std::size_t files_in(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("A written PNG reads back to the same pixels", "[image]") {
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 67}, {67, 1}, {31, 17}}) {
    const Image image = noise(width, height);
    CHECK(decode_image(encode_png(image)) == image);
  }
}

TEST_CASE("A PNG is written wholly or not at all", "[image]") {
  const test::TemporaryFolder folder;
  const Image first = noise(5, 4), second = noise(9, 3);
  write_png(folder / "map.png", first);
  write_png(folder / "map.png", second);
  CHECK(read_image(folder / "map.png") == second);
  CHECK(files_in(folder.path()) == 1);

  const auto code_for = [&](const std::filesystem::path& path) {
    const Error error = test::error_of([&] { write_png(path, first); });
    CHECK(error.place().path == path.native());
    return error.code();
  };
  CHECK(code_for(folder / "no-such-folder" / "map.png") == ErrorCode::output_io);
  std::filesystem::create_directory(folder / "taken.png");
  CHECK(code_for(folder / "taken.png") == ErrorCode::output_io);
  CHECK(files_in(folder.path()) == 2);  // nothing half-written stays
  CHECK(test::error_of([&] { write_png(folder / "empty.png", Image{}); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("Wherever memory runs out while a PNG is made, that is the error and nothing is left",
          "[image][hostile]") {
  const Image image = noise(31, 17);
  const std::vector<std::byte> whole = encode_png(image);
  bool made = false;
  std::size_t first = 1;
  for (; !made; ++first) {
    CAPTURE(first);
    const test::AllocationFailure failure(first, false);
    try {
      made = encode_png(image) == whole;
      REQUIRE(made);
    } catch (const Error& error) {
      REQUIRE(error.code() == ErrorCode::out_of_memory);
    }
    REQUIRE(detail::encoder_blocks == nullptr);
    REQUIRE(failure.happened() != made);
  }
  CHECK(first > 100);  // the encoder's own requests are among those that failed
}

TEST_CASE("A picture whose pixels are not its width x height is not written", "[image]") {
  Image image = noise(4, 3);
  image.rgb.pop_back();
  const Error error = test::error_of([&] { static_cast<void>(encode_png(image)); });
  CHECK(error.code() == ErrorCode::bad_argument);
  CHECK(error.place().subject == "encode_png");
}
