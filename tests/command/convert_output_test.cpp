// SPDX-License-Identifier: MIT
#ifdef Q2L_COMMAND

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "command/program.hpp"
#include "support/temporary_folder.hpp"

TEST_CASE("A converted model that cannot be used does not replace what was there", "[command]") {
  namespace program = q2l::test::program;
  using q2l::test::content_of;
  const q2l::test::TemporaryFolder folder;
  const std::string model = folder / "model";
  REQUIRE(program::run({"convert", program::tiny_model, model}).status == 0);
  const std::string good = content_of(model);

  // A weight that f32 holds and bf16 does not.
  std::string bytes = good;
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  nlohmann::json header = nlohmann::json::parse(bytes.substr(8, length));
  header["__metadata__"].erase("self_test");
  std::string text = header.dump();
  text.resize(length, ' ');
  bytes.replace(8, length, text);
  const std::size_t at =
      header.at("transformer.decoder.layers.1.linear2.weight").at("data_offsets").at(0);
  constexpr float largest = 3.4e38f;
  std::memcpy(&bytes[8 + length + at], &largest, sizeof largest);
  const std::string extreme = folder.write("extreme", bytes);

  const auto files = [&] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
      ++count;
    return count;
  };
  for (const std::string& out : {model, (folder / "new").string()}) {
    const auto result = program::run({"convert", extreme, out, "--precision", "bf16"});
    CHECK(result.status == 3);
    CHECK(
        result.err.find(out + ": 'transformer.decoder.layers.1.linear2.weight': a value is NaN") !=
        std::string::npos);
    CHECK(files() == 2);
  }
  CHECK(content_of(model) == good);
  CHECK(program::run({"convert", extreme, model}).status == 0);
  CHECK(content_of(model) != good);
}

#endif  // Q2L_COMMAND
