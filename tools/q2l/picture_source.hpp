// SPDX-License-Identifier: MIT
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"

namespace q2l::command {

/// What identifies a file or folder whatever its name.
struct FileIdentity {
  dev_t device;
  ino_t inode;
  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

/// Follows links; nothing if there is no such file.
inline std::optional<FileIdentity> identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

/// A picture to tag, or the reason why a folder could not be listed.
struct FoundPicture {
  std::string path;
  std::string name;  ///< the path below the folder that was asked for; the file's name if it was
                     ///< named itself
  std::optional<Error> error{};
};

/// Lists the pictures of paths, one at a time: a file is taken whatever its name; a folder gives,
/// sorted by name and with its subfolders, the files that are called like pictures, hidden ones
/// left out. Links are followed and a folder is listed once, however many names it has.
class PictureSource {
 public:
  /// Gives the next path to look at, or nothing at the end.
  using NextPath = std::function<std::optional<std::string>()>;

  /// `excluded` files and folders are passed over where a folder's listing meets them.
  PictureSource(NextPath next_path, std::set<FileIdentity> excluded)
      : next_path_(std::move(next_path)), excluded_(std::move(excluded)) {}

  std::optional<FoundPicture> next() {
    while (true) {
      if (pending_.empty()) {
        auto path = next_path_();
        if (!path) return std::nullopt;
        pending_.push_back({*path, {}, true});
      }
      const Entry entry = std::move(pending_.front());
      pending_.pop_front();
      struct stat status {};
      const bool exists = ::stat(entry.path.c_str(), &status) == 0;
      if (!exists || !S_ISDIR(status.st_mode)) return FoundPicture{entry.path, name_of(entry)};
      if (auto failure = list(entry, {status.st_dev, status.st_ino})) return failure;
    }
  }

 private:
  struct Entry {
    std::string path;
    std::string name;  ///< empty for what was asked for itself
    bool asked_for;
  };

  static std::string name_of(const Entry& entry) {
    return entry.asked_for ? entry.path.substr(entry.path.find_last_of('/') + 1) : entry.name;
  }

  static bool called_like_picture(std::string_view name) {
    constexpr std::array<std::string_view, 13> endings = {"jpg",  "jpeg", "jpe",  "jfif", "png",
                                                          "bmp",  "gif",  "webp", "tif",  "tiff",
                                                          "heic", "avif", "jxl"};
    std::string ending(name.substr(std::min(name.find_last_of('.') + 1, name.size())));
    std::ranges::transform(ending, ending.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name.find('.') != std::string_view::npos &&
           std::ranges::find(endings, ending) != endings.end();
  }

  /// Puts a folder's pictures and subfolders in front of what is pending.
  std::optional<FoundPicture> list(const Entry& folder, FileIdentity identity) {
    if (!listed_.insert(identity).second) return std::nullopt;
    const auto failed = [&](std::string_view attempt) {
      return FoundPicture{
          folder.path, name_of(folder),
          Error(ErrorCode::io, std::string(attempt) + ": " + std::generic_category().message(errno),
                {.path = folder.path})};
    };
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.path.c_str()), ::closedir);
    if (!stream) return failed("cannot list the folder");
    std::vector<std::string> names;
    errno = 0;
    for (const dirent* entry; (entry = ::readdir(stream.get())) != nullptr; errno = 0)
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    std::optional<FoundPicture> failure;
    if (errno != 0) failure = failed("cannot list the folder");

    std::ranges::sort(names, std::greater());
    for (const std::string& name : names) {
      Entry entry{folder.path + (folder.path.ends_with('/') ? "" : "/") + name,
                  folder.asked_for ? name : folder.name + '/' + name, false};
      struct stat status {};
      const bool exists = ::stat(entry.path.c_str(), &status) == 0;
      const int reason = exists ? 0 : errno;
      if (exists && excluded_.contains({status.st_dev, status.st_ino})) continue;
      // Not even a link may be looked at where the folder may not be searched; where it may, the
      // link leads to another that may not.
      if (reason == EACCES && ::lstat(entry.path.c_str(), &status) != 0) {
        if (!failure) failure = failed("cannot search the folder");
        continue;
      }
      // A path that is too long, for example.
      const bool is_unknown = !exists && reason != ENOENT && reason != ELOOP && reason != EACCES;
      if ((exists && S_ISDIR(status.st_mode)) || is_unknown || called_like_picture(name))
        pending_.push_front(std::move(entry));
    }
    return failure;
  }

  NextPath next_path_;
  std::set<FileIdentity> excluded_;
  std::set<FileIdentity> listed_;
  std::deque<Entry> pending_;
};

}  // namespace q2l::command
