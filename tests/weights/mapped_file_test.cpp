// SPDX-License-Identifier: MIT
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <query2label/weights/mapped_file.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using q2l::ErrorCode;
using q2l::FileAccess;
using q2l::MappedFile;
using q2l::test::error_of;
using q2l::test::TemporaryFolder;

namespace {

std::string_view mapped_text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

q2l::Error mapped_file_error(const std::filesystem::path& path) {
  return error_of([&] { MappedFile file(path); });
}

}  // namespace

TEST_CASE("A file is the same bytes mapped and read, also after a move", "[weights][file]") {
  const TemporaryFolder folder;
  const std::string content(100'000, 'x');
  const auto path = folder.write("data", content);
  for (const FileAccess access : {FileAccess::map, FileAccess::read}) {
    MappedFile file(path, access);
    const auto* const address = file.bytes().data();
    const MappedFile moved = std::move(file);
    CHECK(mapped_text(moved) == content);
    CHECK(moved.bytes().data() == address);
    CHECK(moved.path() == path.string());
    CHECK(MappedFile(folder.write("empty", ""), access).bytes().empty());
  }
}

TEST_CASE("Only regular files are opened, at once", "[weights][file][J10]") {
  const TemporaryFolder folder;
  CHECK(mapped_file_error(folder.path()).code() == ErrorCode::not_regular_file);
  CHECK(mapped_file_error("/dev/zero").code() == ErrorCode::not_regular_file);
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(mapped_file_error(pipe).code() == ErrorCode::not_regular_file);
  const std::string socket_path = (folder / "s").string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.size() < sizeof address.sun_path);
  std::copy(socket_path.begin(), socket_path.end(), address.sun_path);
  const q2l::detail::FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(mapped_file_error(socket_path).code() == ErrorCode::not_regular_file);
  const q2l::Error missing = mapped_file_error(folder / "missing");
  CHECK(missing.code() == ErrorCode::io);
  CHECK(missing.place().path == (folder / "missing").string());
  CHECK(mapped_file_error(std::string("/etc/passwd\0x", 13)).code() == ErrorCode::io);
}

TEST_CASE("A file that was written to is noticed, one that was replaced does not matter",
          "[weights][file][S18]") {
  const TemporaryFolder folder;
  const auto path = folder.write("data", "first");
  const MappedFile file(path);
  file.check_unchanged();
  folder.write("new", "second, longer");
  std::filesystem::rename(folder / "new", path);
  file.check_unchanged();
  CHECK(mapped_text(file) == "first");
  const MappedFile second(path);
  std::ofstream(path, std::ios::app) << "more";
  const q2l::Error error = error_of([&] { second.check_unchanged(); });
  CHECK(error.code() == ErrorCode::file_changed);
  CHECK(error.place().path == path.string());
}
