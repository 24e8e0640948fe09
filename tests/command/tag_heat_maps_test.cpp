// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <string>

#include "q2l/heat_map_files.hpp"
#include "support/temporary_folder.hpp"

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
