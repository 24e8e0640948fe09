// SPDX-License-Identifier: MIT
#ifdef Q2L_COMMAND

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "command/program.hpp"
#include "q2l/convert_command.hpp"
#include "q2l/interrupt.hpp"
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

TEST_CASE("A model that could not be written is not converted", "[command]") {
  namespace program = q2l::test::program;
  const q2l::test::TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  // The pictures are missing, too: what is told is known before they are looked for.
  const auto convert = [&](const std::string& out) {
    return program::run({"convert", program::tiny_model, out, "--precision", "int8", "--calibrate",
                         folder / "absent"});
  };
  for (const char* const out : {"pipe", "no/model"}) {
    const auto result = convert(folder / out);
    CHECK(result.status == 4);
    CHECK(result.err.find((folder / out).string()) != std::string::npos);
  }
  CHECK(convert("").status == 2);
}

TEST_CASE("A conversion that a signal ends leaves nothing behind", "[command]") {
  namespace program = q2l::test::program;
  const q2l::test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "out");
  const std::string own = std::to_string(::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string pid = std::to_string(::getpid());
    for (const std::string& name : {"model." + pid + "-0.part", "q2l-" + pid + ".part",
                                   "q2l-" + pid + ".part." + pid + "-0.part"})
      folder.write("out/" + name, "x");
    folder.write("out/model", "x");
    folder.write("out/model." + own + "-0.part", "of another");
    ::signal(SIGTERM, SIG_DFL);  // not the tests' own
    q2l::command::clean_up_on_signals(
        [target = folder / "out/model"] { q2l::command::detail::remove_unfinished(target); });
    ::kill(::getpid(), SIGTERM);
    while (true) ::pause();
  }
  CHECK(program::status_of(child) == -SIGTERM);
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out"))
    left.insert(entry.path().filename().string());
  CHECK(left == std::set<std::string>{"model", "model." + own + "-0.part"});
}

#endif  // Q2L_COMMAND
