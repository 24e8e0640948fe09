// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <iterator>
#include <query2label/core/output_file.hpp>

#include "support/byte_strings.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using q2l::ErrorCode;
using q2l::test::bytes;
using q2l::test::content_of;
using q2l::test::error_of;
using q2l::test::TemporaryFolder;

TEST_CASE("An output file appears complete or not at all", "[core]") {
  const TemporaryFolder folder;
  const auto path = folder.write("out", "old");
  {
    q2l::OutputFile file(path);
    file.write(bytes("half"));
  }
  CHECK(content_of(path) == "old");
  {
    q2l::OutputFile file(path);
    file.write(bytes("whole"));
    file.commit();
  }
  CHECK(content_of(path) == "whole");
  std::filesystem::permissions(path, std::filesystem::perms(0640));
  q2l::write_file(path, bytes("private"));
  CHECK(content_of(path) == "private");
  CHECK(std::filesystem::status(path).permissions() == std::filesystem::perms(0640));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  const q2l::Error error = error_of([&] { q2l::OutputFile file(folder / "no" / "out"); });
  CHECK(error.code() == ErrorCode::output_io);
  CHECK(error.place().path == (folder / "no" / "out").string());
}

TEST_CASE("An output file replaces nothing but a regular file, behind a link too", "[core]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "taken");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const char* name : {"taken", "pipe"}) {
    const q2l::Error error = error_of([&] { q2l::OutputFile file(folder / name); });
    CHECK(error.code() == ErrorCode::output_io);
    CHECK(error.detail() == "is not a regular file");
  }
  std::filesystem::create_symlink("behind", folder / "link");
  folder.write("behind", "old");
  q2l::write_file(folder / "link", bytes("new"));
  CHECK(content_of(folder / "behind") == "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  std::filesystem::create_symlink("link", folder / "farther");
  std::filesystem::remove(folder / "behind");
  q2l::write_file(folder / "farther", bytes("newest"));
  CHECK(content_of(folder / "behind") == "newest");
  CHECK(std::filesystem::is_symlink(folder / "farther"));
}
