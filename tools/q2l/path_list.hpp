// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "q2l/exit_code.hpp"

namespace q2l::command {

/// Reads paths from a descriptor as they come, ended by NUL or by LF: by NUL if the first bytes
/// that arrive hold one (as `find -print0` writes), else by LF, or CR LF unless there is a file
/// with that CR in its name. Empty ones are passed over, the last needs no end.
class PathList {
 public:
  /// `stopped` is asked a few times a second while nothing arrives, and ends the list.
  PathList(int descriptor, std::function<bool()> stopped)
      : descriptor_(descriptor), stopped_(std::move(stopped)), block_(std::size_t{64} << 10) {}

  /// Throws a Failure if reading fails or a path has more than 1 MiB.
  std::optional<std::string> next() {
    while (true) {
      if (const std::size_t end =
              separator_ ? buffer_.find(*separator_, begin_) : std::string::npos;
          end != std::string::npos) {
        std::string path = path_to(end);
        begin_ = end + 1;
        if (!path.empty()) return path;
      } else if (ended_) {
        std::string path = path_to(buffer_.size());
        begin_ = buffer_.size();
        return path.empty() ? std::nullopt : std::optional(std::move(path));
      } else {
        read_more();
      }
    }
  }

 private:
  [[nodiscard]] std::string path_to(std::size_t end) const {
    std::string path = buffer_.substr(begin_, end - begin_);
    struct stat status {};
    if (separator_ != '\0' && path.ends_with('\r') && ::lstat(path.c_str(), &status) != 0)
      path.pop_back();
    return path;
  }

  void read_more() {
    buffer_.erase(0, std::exchange(begin_, 0));
    if (buffer_.size() > longest_path)
      throw Failure(ExitCode::usage, "the list of paths holds one beyond 1 MiB");
    pollfd input{descriptor_, POLLIN, 0};
    while (::poll(&input, 1, 200) == 0 || input.revents == 0)
      if (stopped_()) return stop();
    const ssize_t count = ::read(descriptor_, block_.data(), block_.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count < 0)
      throw Failure(ExitCode::usage,
                    "cannot read the list of paths: " + std::generic_category().message(errno));
    if (count == 0) ended_ = true;
    const std::string_view arrived(block_.data(), static_cast<std::size_t>(count));
    buffer_ += arrived;
    if (!separator_ && arrived.find('\0') != std::string_view::npos)
      separator_ = '\0';
    else if (!separator_ && arrived.find('\n') != std::string_view::npos)
      separator_ = '\n';
  }

  void stop() {
    ended_ = true;
    buffer_.clear();
  }

  static constexpr std::size_t longest_path = std::size_t{1} << 20;
  int descriptor_;
  std::function<bool()> stopped_;
  std::vector<char> block_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::optional<char> separator_;
  bool ended_ = false;
};

}  // namespace q2l::command
