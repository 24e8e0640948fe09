// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "query2label/core/fixed_decimals.hpp"

namespace q2l::command {

/// A line on standard error that tells how far a run is: shown on a terminal, silent elsewhere.
class Progress {
 public:
  /// `total` pictures, if they can be counted beforehand.
  Progress(bool shown, std::optional<std::size_t> total) : shown_(shown), total_(total) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { hide(); }

  /// Takes the line off the screen, before something else is printed.
  void hide() {
    if (std::exchange(visible_, false)) std::fputs("\r\033[K", stderr);
  }

  /// Tells that `done` pictures are finished, `failed` of them in vain and `skipped` before this
  /// run.
  void show(std::size_t done, std::size_t failed, std::size_t skipped = 0) {
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || (visible_ && now - drawn_ < std::chrono::milliseconds(100))) return;
    drawn_ = now;
    visible_ = true;
    const std::string text =
        "\r\033[K" +
        line(done, failed, std::chrono::duration<double>(now - start_).count(), skipped);
    std::fwrite(text.data(), 1, text.size(), stderr);
  }

  /// The text of the line after `seconds`.
  [[nodiscard]] std::string line(std::size_t done, std::size_t failed, double seconds,
                                 std::size_t skipped = 0) const {
    std::string text;
    if (total_) {
      constexpr std::size_t width = 24;
      const std::size_t filled = *total_ == 0 ? width : std::min(width, done * width / *total_);
      text = "[" + std::string(filled, '#') + std::string(width - filled, '.') + "] " +
             std::to_string(done) + "/" + std::to_string(*total_);
    } else {
      text = std::to_string(done) + " pictures";
    }
    if (seconds > 0)
      text += ", " + fixed_decimals(static_cast<double>(done - skipped) / seconds, 1) + " a second";
    if (failed > 0) text += ", " + std::to_string(failed) + " failed";
    return text;
  }

 private:
  bool shown_;
  std::optional<std::size_t> total_;
  bool visible_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point drawn_{};
};

}  // namespace q2l::command
