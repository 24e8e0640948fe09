// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "q2l/exit_code.hpp"

namespace q2l::command {

/// Where result lines go: standard output, or a file that only this run may write. Every line is
/// handed over in one write; if that fails the file is cut back to its last complete line.
class ResultOutput {
 public:
  /// Standard output.
  ResultOutput() : name_("standard output"), descriptor_(STDOUT_FILENO) {}

  /// Opens and locks `path`. Without `resume` it must be new or empty, so that no finished work is
  /// lost to a forgotten option.
  ResultOutput(const std::string& path, bool resume) : name_(path), owned_(true) {
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    if (descriptor_ < 0 && errno == EISDIR) throw Failure(ExitCode::usage, path + ": is a folder");
    if (descriptor_ < 0) fail("cannot open");
    try {
      struct stat status {};
      if (::fstat(descriptor_, &status) != 0) fail("cannot examine");
      regular_ = S_ISREG(status.st_mode);
      if (!regular_ && (resume || S_ISFIFO(status.st_mode)))
        throw Failure(ExitCode::usage, path + ": is not a regular file");
      if (!regular_) return;
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
          throw Failure(ExitCode::output, path + ": another run is writing to it");
        fail("cannot lock");
      }
      if (::fstat(descriptor_, &status) != 0) fail("cannot examine");
      complete_ = status.st_size;
      if (complete_ > 0 && !resume)
        throw Failure(ExitCode::usage, path +
                                           ": is not empty; remove it, or go on with it by "
                                           "--resume if it is jsonl or csv");
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
  }

  ResultOutput(const ResultOutput&) = delete;
  ResultOutput& operator=(const ResultOutput&) = delete;
  ~ResultOutput() {
    if (owned_ && descriptor_ >= 0) ::close(descriptor_);
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Whether it is a file that can be resumed.
  [[nodiscard]] bool is_regular() const noexcept { return regular_; }
  /// Bytes in the file.
  [[nodiscard]] off_t size() const noexcept { return complete_; }

  /// Shortens the file to `size` bytes, the end of its last complete line.
  void cut_to(off_t size) {
    if (::ftruncate(descriptor_, size) != 0) fail("cannot cut back");
    complete_ = size;
  }

  /// Adds complete lines. Throws a Failure: a quiet one if the reader of a pipe has left.
  void write(std::string_view lines) {
    const std::string_view all = lines;
    while (!lines.empty()) {
      const ssize_t count = ::write(descriptor_, lines.data(), lines.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) {  // a pipe that its other end made non-blocking
        pollfd room{descriptor_, POLLOUT, 0};
        ::poll(&room, 1, -1);
        continue;
      }
      if (count < 0) {
        const int error = errno;
        if (error == EPIPE) throw Failure(ExitCode::output, "");
        if (regular_ && ::ftruncate(descriptor_, complete_) != 0)
          throw Failure(ExitCode::output,
                        message("cannot write, and cannot cut back the torn line", error));
        throw Failure(ExitCode::output, message("cannot write", error));
      }
      lines.remove_prefix(static_cast<std::size_t>(count));
    }
    complete_ += static_cast<off_t>(all.size());
    if (regular_ && (++unsynced_ == most_unsynced || Clock::now() - synced_ > longest_unsynced))
      sync();
  }

  /// Makes sure that all lines are on disk. Call once at the end.
  void finish() {
    if (!owned_) return;
    if (regular_) sync();
    if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot close");
  }

 private:
  [[nodiscard]] std::string message(std::string_view attempt, int error) const {
    return name_ + ": " + std::string(attempt) + ": " + std::generic_category().message(error);
  }
  [[noreturn]] void fail(std::string_view attempt) const {
    throw Failure(ExitCode::output, message(attempt, errno));
  }
  /// Should the power fail, only what was written since is lost.
  void sync() {
    if (::fsync(descriptor_) != 0) fail("cannot write to disk");
    unsynced_ = 0;
    synced_ = Clock::now();
  }

  using Clock = std::chrono::steady_clock;
  static constexpr int most_unsynced = 64;  ///< writes
  static constexpr std::chrono::seconds longest_unsynced{2};

  std::string name_;
  int descriptor_ = -1;
  bool owned_ = false;
  bool regular_ = false;
  off_t complete_ = 0;  ///< where the last complete line ends
  int unsynced_ = 0;    ///< writes that may not be on disk
  Clock::time_point synced_ = Clock::now();
};

}  // namespace q2l::command
