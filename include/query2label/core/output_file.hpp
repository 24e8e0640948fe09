// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "query2label/core/error.hpp"
#include "query2label/core/file_descriptor.hpp"

namespace q2l {

/// A file that appears under its name only when it is complete: written beside it, forced to disk,
/// renamed. Without `commit` nothing remains. A link is followed; what is there already must be a
/// regular file. Every failure is output_io naming the file.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path) : path_(target_of(path)) {
    for (int attempt = 0; file_.get() < 0; ++attempt) {
      temporary_ = unfinished_prefix(path_) + std::to_string(attempt) + ".part";
      constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
      file_ = detail::FileDescriptor(::open(temporary_.c_str(), flags, 0666));
      if (file_.get() < 0 && (errno != EEXIST || attempt == 100)) {
        const int error = errno;
        temporary_.clear();
        fail("cannot create", error);
      }
    }
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  /// The file that appears: what `path` links to, where it is a link.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// How the names of this process's unfinished files of `path` begin; they end in ".part".
  static std::string unfinished_prefix(const std::string& path) {
    return path + "." + std::to_string(::getpid()) + "-";
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(file_.get(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("cannot write", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Makes the file appear under its name, with the permissions of one that it replaces where the
  /// file system knows them.
  void commit() {
    struct stat before {};
    if (::stat(path_.c_str(), &before) == 0)
      static_cast<void>(::fchmod(file_.get(), before.st_mode & 07777));
    if (::fsync(file_.get()) != 0) fail("cannot write to disk", errno);
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename", errno);
    temporary_.clear();
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    const detail::FileDescriptor parent(
        ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent.get() >= 0) ::fsync(parent.get());  // best effort: some file systems refuse it
  }

 private:
  /// A device or a pipe would be replaced by the renaming, and so would a link.
  static std::string target_of(const std::filesystem::path& path) {
    std::error_code ignored;
    const std::filesystem::file_status status = std::filesystem::status(path, ignored);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw Error(ErrorCode::output_io, "is not a regular file", {.path = path.string()});
    std::filesystem::path target = path;
    constexpr int most_links = 40;  // as Linux follows
    for (int i = 0; i < most_links && std::filesystem::is_symlink(target, ignored); ++i)
      target = target.parent_path() / std::filesystem::read_symlink(target, ignored);
    return target.string();
  }

  [[noreturn]] void fail(std::string_view doing, int error) const {
    detail::throw_errno(doing, path_, error, ErrorCode::output_io);
  }

  std::string path_;
  std::string temporary_;  ///< empty when nothing is left to remove
  detail::FileDescriptor file_;
};

/// Writes the whole file or leaves what was there. Throws output_io.
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  OutputFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace q2l
