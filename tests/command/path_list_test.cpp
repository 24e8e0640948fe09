// SPDX-License-Identifier: MIT
#include "q2l/path_list.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/temporary_folder.hpp"

namespace {

std::vector<std::string> paths_in(std::string_view text) {
  const q2l::test::TemporaryFolder folder;
  const int descriptor = ::open(folder.write("list", text).c_str(), O_RDONLY | O_CLOEXEC);
  q2l::command::PathList list(descriptor, [] { return false; });
  std::vector<std::string> paths;
  while (auto path = list.next()) paths.push_back(*path);
  ::close(descriptor);
  return paths;
}

}  // namespace

TEST_CASE("A list of paths may have the line ends of Windows", "[command]") {
  using Paths = std::vector<std::string>;
  CHECK(paths_in("a.jpg\r\n\r\nb c.jpg\r\nd.jpg\r") == Paths{"a.jpg", "b c.jpg", "d.jpg"});
  CHECK(paths_in("a.jpg\r\r\nb\rc\n") == Paths{"a.jpg\r", "b\rc"});
  using namespace std::string_view_literals;
  CHECK(paths_in("a.jpg\r\0b.jpg\0"sv) == Paths{"a.jpg\r", "b.jpg"});
  const q2l::test::TemporaryFolder folder;
  const std::string odd = folder.write("odd\r", "");
  CHECK(paths_in(odd + "\n" + odd + "\r\n") == Paths{odd, odd});
}
