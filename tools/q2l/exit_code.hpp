// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>
#include <string>

namespace q2l::command {

/// What the program's exit status says.
enum class ExitCode { done = 0, some_failed = 1, usage = 2, model = 3, output = 4 };

/// Ends the program with one line on standard error; an empty message ends it quietly.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

}  // namespace q2l::command
