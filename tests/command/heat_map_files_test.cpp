// SPDX-License-Identifier: MIT
#include "q2l/heat_map_files.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <string>

#include "support/temporary_folder.hpp"

#ifdef Q2L_COMMAND
#include "command/program.hpp"
#endif

using q2l::command::FoundPicture;
using q2l::command::HeatMapFiles;
using q2l::test::TemporaryFolder;

TEST_CASE("Pictures of the same name have heat maps of their own, a picture always the same",
          "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "maps");
  const FoundPicture first{"x/a.jpg", "a.jpg"}, second{"y/a.jpg", "a.jpg"},
      third{"z/a.jpg", "a.jpg"}, below{"x/sub/a.jpg", "sub/a.jpg"};
  const std::string maps = folder / "maps";
  CHECK(files.folder() == maps);
  CHECK(files.path_for(first, "cat") == maps + "/a.jpg.cat.png");
  CHECK(files.path_for(second, "cat") == maps + "/a.jpg-2.cat.png");
  CHECK(files.path_for(third, "cat") == maps + "/a.jpg-3.cat.png");
  CHECK(files.path_for(below, "cat") == maps + "/sub/a.jpg.cat.png");
  for (int again = 0; again < 2; ++again) {
    CHECK(files.path_for(second, "dog") == maps + "/a.jpg-2.dog.png");
    CHECK(files.path_for(first, "dog") == maps + "/a.jpg.dog.png");
  }
  // A name that the number makes is taken as well.
  CHECK(files.path_for({"a.jpg-2", "a.jpg-2"}, "cat") == maps + "/a.jpg-2-2.cat.png");
}

TEST_CASE("A label's heat map stays in the folder, and different labels have different ones",
          "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "maps");
  const FoundPicture picture{"x/a.jpg", "a.jpg"};
  std::set<std::filesystem::path> seen;
  for (const char* label : {"a/b", "a%2fb", "/a", "../a", "a", "a\n", "a\x7F"}) {
    const std::filesystem::path file = files.path_for(picture, label);
    CHECK(file.parent_path() == folder / "maps");
    CHECK(seen.insert(file).second);
  }
  CHECK(files.path_for(picture, "a/b") == (folder / "maps/a.jpg.a%2fb.png").string());
}

TEST_CASE("The folders above a heat map are made, or told if they cannot be", "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "deep/maps");
  static_cast<void>(files.path_for({"x/sub/a.jpg", "sub/a.jpg"}, "cat"));
  CHECK(std::filesystem::is_directory(folder / "deep/maps/sub"));
  folder.write("deep/maps/taken", "a file");
  try {
    static_cast<void>(files.path_for({"x/taken/a.jpg", "taken/a.jpg"}, "cat"));
    FAIL("made");
  } catch (const q2l::command::Failure& failure) {
    CHECK(failure.code() == q2l::command::ExitCode::output);
    CHECK(std::string(failure.what()).find("taken: cannot make the folder") != std::string::npos);
  }
}

TEST_CASE("Labels that begin alike for long have heat maps of their own", "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "maps");
  const std::string start(60, 'x');
  const std::string first = files.path_for({"a.jpg", "a.jpg"}, start + "1");
  CHECK(first != files.path_for({"a.jpg", "a.jpg"}, start + "2"));
  CHECK(first == files.path_for({"a.jpg", "a.jpg"}, start + "1"));
  CHECK(std::filesystem::path(first).filename().string().size() == 6 + 60 + 4);
  CHECK(files.path_for({"a.jpg", "a.jpg"}, start) ==
        (folder / "maps").string() + "/a.jpg." + start + ".png");
}

TEST_CASE("A dot in a label does not make it another picture's", "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "maps");
  CHECK(files.path_for({"a.jpg", "a.jpg"}, "b.c") != files.path_for({"a.jpg.b", "a.jpg.b"}, "c"));
}

TEST_CASE("A reserved name is the first picture's, whatever is drawn first", "[command]") {
  const TemporaryFolder folder;
  HeatMapFiles files(folder / "maps");
  files.reserve({"A/1.jpg", "1.jpg"});
  files.reserve({"B/1.jpg", "1.jpg"});
  const std::string maps = folder / "maps";
  CHECK(files.path_for({"B/1.jpg", "1.jpg"}, "cat") == maps + "/1.jpg-2.cat.png");
  CHECK(files.path_for({"A/1.jpg", "1.jpg"}, "cat") == maps + "/1.jpg.cat.png");
}

#ifdef Q2L_COMMAND

TEST_CASE("A resumed run leaves the heat maps of the pictures that are done", "[command]") {
  namespace program = q2l::test::program;
  using q2l::test::content_of;
  const TemporaryFolder folder;
  const std::string first = folder / "A", second = folder / "B";
  for (const std::string& name : {first, second}) std::filesystem::create_directory(name);
  std::filesystem::copy(program::demo_pictures + "/scene1.jpg", first + "/1.jpg");
  std::filesystem::copy(program::demo_pictures + "/scene3.jpg", second + "/1.jpg");
  const auto tag = [&](program::Arguments more) {
    more.insert(more.begin(), {"--top-k", "1", "--format", "jsonl", "--output", folder / "out",
                               "--heat-maps", folder / "maps"});
    REQUIRE(program::tag(more).status == 0);
  };
  const auto map_of = [&](const std::string& lead) {
    std::string content;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "maps"))
      if (entry.path().filename().string().starts_with(lead)) content += content_of(entry.path());
    return content;
  };
  tag({first});
  const std::string before = map_of("1.jpg.");
  REQUIRE_FALSE(before.empty());
  tag({"--resume", first, second});
  CHECK(map_of("1.jpg.") == before);
  CHECK_FALSE(map_of("1.jpg-2.").empty());
}

#endif  // Q2L_COMMAND
