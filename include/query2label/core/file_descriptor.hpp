// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "query2label/core/error.hpp"

namespace q2l::detail {

/// Throws Error `code`: "DOING: what the system says of errno `error`", naming the file.
[[noreturn]] inline void throw_errno(std::string_view doing, const std::string& path, int error,
                                     ErrorCode code = ErrorCode::io) {
  throw Error(code, std::string(doing) + ": " + std::generic_category().message(error),
              {.path = path});
}

/// An open POSIX file descriptor, closed with its owner.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number = -1) noexcept : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const noexcept { return number_; }

 private:
  int number_;
};

/// fstat of a regular file. Throws not_regular_file for folders, pipes, sockets and devices, io.
inline struct stat regular_file_status(const FileDescriptor& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno("cannot examine", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::not_regular_file, "not a regular file", {.path = path});
  }
  return status;
}

/// Opens a regular file for reading, never waiting for a pipe or a device.
/// Throws not_regular_file or io.
inline FileDescriptor open_regular_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    throw Error(ErrorCode::io, "a file name cannot hold a NUL", {.path = path});
  }
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) {
    const int error = errno;  // ENXIO: a socket, or a device without a driver
    throw_errno("cannot open", path, error,
                error == ENXIO ? ErrorCode::not_regular_file : ErrorCode::io);
  }
  regular_file_status(file, path);
  return file;
}

}  // namespace q2l::detail
