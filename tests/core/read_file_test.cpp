// SPDX-License-Identifier: MIT
#include "query2label/core/read_file.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "query2label/core/output_file.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l;

TEST_CASE("A file is written and read back whole", "[core]") {
  const test::TemporaryFolder folder;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100'000}}) {
    std::vector<std::byte> bytes(size, std::byte{42});
    write_file(folder / "file", bytes);
    CHECK(read_file(folder / "file", size) == bytes);
  }
}

TEST_CASE("A file over the limit is refused before it is read", "[core]") {
  const test::TemporaryFolder folder;
  const auto path = folder.write("file", "12345");
  const Error error = test::error_of([&] { static_cast<void>(read_file(path, 4)); });
  CHECK(error.code() == ErrorCode::limit_exceeded);
  CHECK(error.place().path == path.native());
  CHECK(error.place().actual == "5");
}

TEST_CASE("What is not a regular file is refused at once", "[core]") {
  const test::TemporaryFolder folder;
  const Error directory = test::error_of([&] { static_cast<void>(read_file(folder.path(), 10)); });
  CHECK(directory.code() == ErrorCode::not_regular_file);
  const Error device = test::error_of([&] { static_cast<void>(read_file("/dev/null", 10)); });
  CHECK(device.code() == ErrorCode::not_regular_file);
  const Error absent = test::error_of([&] { static_cast<void>(read_file(folder / "absent", 10)); });
  CHECK(absent.code() == ErrorCode::io);
  CHECK(absent.detail() == "cannot open: No such file or directory");
}

TEST_CASE("A file that is shorter than it says is reported as changed", "[core]") {
  // The kernel states a size of one page for this file but gives a few bytes.
  const Error error = test::error_of(
      [] { static_cast<void>(read_file("/sys/devices/system/cpu/online", 1 << 20)); });
  CHECK(error.code() == ErrorCode::file_changed);
}
