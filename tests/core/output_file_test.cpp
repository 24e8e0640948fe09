// SPDX-License-Identifier: MIT
#include <query2label/core/output_file.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <iterator>

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
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  const q2l::Error error = error_of([&] { q2l::OutputFile file(folder / "no" / "out"); });
  CHECK(error.code() == ErrorCode::output_io);
  CHECK(error.place().path == (folder / "no" / "out").string());
  std::filesystem::create_directory(folder / "taken");
  q2l::OutputFile over_folder(folder / "taken");
  CHECK(error_of([&] { over_folder.commit(); }).code() == ErrorCode::output_io);
}
