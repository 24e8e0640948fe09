// SPDX-License-Identifier: MIT
#ifdef Q2L_COMMAND

#include <catch2/catch.hpp>
#include <string>

#include "command/program.hpp"
#include "support/temporary_folder.hpp"

TEST_CASE("A run is not resumed in another format, and its output stays as it is", "[command]") {
  namespace program = q2l::test::program;
  const q2l::test::TemporaryFolder folder;
  const std::string first = program::demo_pictures + "/scene1.jpg";
  const std::string second = program::demo_pictures + "/scene2.png";
  const auto [format, other] = GENERATE(std::pair{"jsonl", "csv"}, std::pair{"csv", "jsonl"});
  const std::string output = folder / "out";
  REQUIRE(program::tag({"--format", format, "--output", output, first}).status == 0);
  const std::string before = q2l::test::content_of(output);
  const auto resumed =
      program::tag({"--format", other, "--output", output, "--resume", first, second});
  CHECK(resumed.status == 2);
  CHECK(resumed.err.find("was written by another run (format)") != std::string::npos);
  CHECK(q2l::test::content_of(output) == before);
  CHECK(program::tag({"--format", format, "--output", output, "--resume", first, second}).status ==
        0);
  CHECK(program::lines_in(q2l::test::content_of(output)) == program::lines_in(before) + 1);
}

#endif  // Q2L_COMMAND
