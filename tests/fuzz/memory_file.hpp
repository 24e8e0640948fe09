// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "fuzz/check.hpp"
#include "query2label/core/file_descriptor.hpp"

namespace q2l::fuzz {

/// A file in memory that can be opened by its path.
class MemoryFile {
 public:
  MemoryFile()
      : file_(::memfd_create("fuzz", MFD_CLOEXEC)),
        path_("/proc/self/fd/" + std::to_string(file_.get())) {
    check(file_.get() >= 0, "files can be made in memory");
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  /// Replaces the content.
  void write(std::string_view content) {
    const bool done = ::ftruncate(file_.get(), 0) == 0 &&
                      ::pwrite(file_.get(), content.data(), content.size(), 0) ==
                          static_cast<ssize_t>(content.size());
    check(done, "files in memory can be written");
  }

  /// The first bytes, at most `size`.
  [[nodiscard]] std::string read(std::size_t size) const {
    std::string content(size, '\0');
    const ssize_t count = ::pread(file_.get(), content.data(), size, 0);
    check(count >= 0, "files in memory can be read");
    content.resize(static_cast<std::size_t>(count));
    return content;
  }

 private:
  q2l::detail::FileDescriptor file_;
  std::string path_;
};

}  // namespace q2l::fuzz
