// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <string_view>

namespace q2l::command {

/// Tells the user one line, on standard error.
inline void say(std::string_view line) {
  std::fprintf(stderr, "q2l: %.*s\n", static_cast<int>(line.size()), line.data());
}

}  // namespace q2l::command
