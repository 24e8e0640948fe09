// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"

namespace q2l::command {

/// Tells the user one line, on standard error, whatever names it holds.
inline void say(std::string_view line) {
  std::fprintf(stderr, "q2l: %s\n", escape_controls(line).c_str());
}

}  // namespace q2l::command
