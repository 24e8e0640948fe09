// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "query2label/version.hpp"

namespace q2l::command {

/// "MAJOR.MINOR.PATCH".
inline std::string version_number() {
  return std::to_string(version.major) + '.' + std::to_string(version.minor) + '.' +
         std::to_string(version.patch);
}

}  // namespace q2l::command
