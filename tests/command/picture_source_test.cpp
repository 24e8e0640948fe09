// SPDX-License-Identifier: MIT
#include "q2l/picture_source.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "q2l/path_list.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l::command;
using q2l::test::TemporaryFolder;

namespace {

using Names = std::vector<std::string>;

std::vector<FoundPicture> all_of(const Names& paths, std::set<FileIdentity> excluded = {}) {
  std::size_t at = 0;
  PictureSource source(
      [&]() -> std::optional<std::string> {
        if (at == paths.size()) return std::nullopt;
        return paths[at++];
      },
      std::move(excluded));
  std::vector<FoundPicture> found;
  while (auto picture = source.next()) found.push_back(std::move(*picture));
  return found;
}

Names names_of(const std::vector<FoundPicture>& found) {
  Names names;
  for (const FoundPicture& picture : found) names.push_back(picture.name);
  return names;
}

/// What a list of paths gives that arrives in the given pieces.
Names listed(const std::vector<std::string_view>& pieces) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  Names paths;
  PathList list(ends[0], [] { return false; });
  std::size_t piece = 0;
  const auto send = [&] {
    if (piece < pieces.size())
      REQUIRE(::write(ends[1], pieces[piece].data(), pieces[piece].size()) ==
              static_cast<ssize_t>(pieces[piece].size()));
    if (++piece > pieces.size()) ::close(ends[1]);
  };
  for (std::size_t i = 0; i <= pieces.size(); ++i) send();
  while (auto path = list.next()) paths.push_back(*path);
  ::close(ends[0]);
  return paths;
}

/// While it lives, this process can open no file.
class NoDescriptors {
 public:
  NoDescriptors() {
    const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(lowest_free >= 0);
    ::close(lowest_free);
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(lowest_free);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("A folder gives its pictures sorted, with those of its subfolders", "[command]") {
  const TemporaryFolder folder;
  for (const char* name : {"b.jpg", "a.PNG", "sub/z.bmp", "sub/deep/x.jpeg", "notes.txt",
                           ".hidden.jpg", ".git/o.png", "jpg", "c.webp", "sub/b.jpg.part"})
    folder.write(name, "x");
  const auto found = all_of({folder.path()});
  CHECK(names_of(found) == Names{"a.PNG", "b.jpg", "c.webp", "sub/deep/x.jpeg", "sub/z.bmp"});
  CHECK(found[4].path == (folder / "sub/z.bmp").string());
  CHECK(names_of(all_of({folder.path().string() + "/"})) == names_of(found));
}

TEST_CASE("A file that is named itself is taken whatever it is called, and if it does not exist",
          "[command]") {
  const TemporaryFolder folder;
  const std::string file = folder.write("sub/picture.dat", "x");
  const auto found = all_of({file, folder / "none.jpg", "-odd"});
  REQUIRE(found.size() == 3);
  CHECK(found[0].path == file);
  CHECK(found[0].name == "picture.dat");
  CHECK(found[1].name == "none.jpg");
  CHECK(found[2].path == "-odd");
}

TEST_CASE("Loops of links end and a folder is listed once", "[command]") {
  const TemporaryFolder folder;
  folder.write("a/one.jpg", "x");
  std::filesystem::create_directory_symlink("..", folder / "a/up");
  std::filesystem::create_directory_symlink("a", folder / "b");
  std::filesystem::create_symlink("loop.jpg", folder / "loop.jpg");
  std::filesystem::create_symlink("none", folder / "dangling.jpg");
  CHECK(names_of(all_of({folder.path()})) == Names{"a/one.jpg", "dangling.jpg", "loop.jpg"});
  CHECK(names_of(all_of({folder.path(), folder.path()})).size() == 3);
}

TEST_CASE("The run's own output is passed over in a folder", "[command]") {
  const TemporaryFolder folder;
  folder.write("a.jpg", "x");
  const std::string maps = folder.write("maps/a.cat.png", "x").parent_path();
  const std::string output = folder.write("out.png", "x");
  CHECK(names_of(all_of({folder.path()}, {*identity_of(maps), *identity_of(output)})) ==
        Names{"a.jpg"});
}

TEST_CASE("A link into a folder that may not be searched is a picture that fails", "[command]") {
  const TemporaryFolder folder;
  folder.write("forbidden/1.jpg", "x");
  folder.write("open/ok.png", "x");
  for (const char* name : {"1.jpg", "notes.txt"})
    std::filesystem::create_symlink(std::string("../forbidden/") + name, folder / "open" / name);
  using std::filesystem::perms;
  std::filesystem::permissions(folder.path(),
                               perms::owner_all | perms::group_exec | perms::others_exec);
  std::filesystem::permissions(folder / "forbidden", perms::none);
  const pid_t child = ::fork();  // permissions do not keep root out
  if (child == 0) {
    constexpr uid_t nobody = 65534;
    if (::getuid() == 0 && ::setuid(nobody) != 0) ::_exit(2);
    const auto found = all_of({folder / "open"});
    const bool fits = names_of(found) == Names{"1.jpg", "ok.png"} && !found[0].error;
    ::_exit(fits ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  std::filesystem::permissions(folder / "forbidden", perms::owner_all);
  CHECK(status == 0);
}

TEST_CASE("A folder that cannot be listed is one error and the walk goes on", "[command]") {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", "x");
  folder.write("b/2.jpg", "x");
  folder.write("c/3.jpg", "x");
  Names paths = {folder.path()};
  PictureSource source(
      [&]() -> std::optional<std::string> {
        if (paths.empty()) return std::nullopt;
        return std::exchange(paths, {}).front();
      },
      {});
  std::vector<std::optional<FoundPicture>> found = {source.next()};
  {
    const NoDescriptors none;  // permissions do not keep root out
    found.push_back(source.next());
  }
  for (int i = 0; i < 2; ++i) found.push_back(source.next());
  REQUIRE(found[0].has_value());
  CHECK(found[0]->name == "a/1.jpg");
  REQUIRE(found[1].has_value());
  CHECK(found[1]->path == (folder / "b").string());
  CHECK(found[1]->name == "b");
  REQUIRE(found[1]->error.has_value());
  CHECK(found[1]->error->code() == q2l::ErrorCode::io);
  CHECK(found[1]->error->place().path == (folder / "b").string());
  REQUIRE(found[2].has_value());
  CHECK(found[2]->name == "c/3.jpg");
  CHECK_FALSE(found[3].has_value());
}

TEST_CASE("A list of paths is separated by newlines or by NULs, whatever pieces it comes in",
          "[command]") {
  using namespace std::string_view_literals;
  CHECK(listed({"a.jpg\nb c.jpg\n"}) == Names{"a.jpg", "b c.jpg"});
  CHECK(listed({"a.jpg\n\nb.jpg"}) == Names{"a.jpg", "b.jpg"});
  CHECK(listed({"a.j", "pg\nb", ".jpg\n"}) == Names{"a.jpg", "b.jpg"});
  CHECK(listed({"a\nb.jpg\0c.jpg\0"sv}) == Names{"a\nb.jpg", "c.jpg"});
  CHECK(listed({}).empty());
  CHECK(listed({"\n\n"}).empty());
}

TEST_CASE("A list without end of line is bounded, and stopping ends the wait", "[command]") {
  const TemporaryFolder folder;
  const auto file = folder.write("list", std::string((std::size_t{1} << 20) + 100'000, 'x'));
  const int descriptor = ::open(file.c_str(), O_RDONLY);
  PathList list(descriptor, [] { return false; });
  CHECK_THROWS_AS(list.next(), Failure);
  ::close(descriptor);

  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  CHECK_FALSE(PathList(ends[0], [] { return true; }).next().has_value());
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("What is too deep to be looked at is told, not passed over", "[command][C12]") {
  const TemporaryFolder folder;
  folder.write("a.jpg", "");
  int at = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::string name(250, 'd');
  for (int depth = 0; depth < 18; ++depth) {  // beyond PATH_MAX
    REQUIRE(::mkdirat(at, name.c_str(), 0700) == 0);
    const int below = ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ::close(std::exchange(at, below));
  }
  ::close(at);
  const auto found = all_of({folder.path().string()});
  REQUIRE(found.size() == 2);
  CHECK(found[0].name == "a.jpg");
  CHECK(found[1].path.size() > 4096 - 256);
}
