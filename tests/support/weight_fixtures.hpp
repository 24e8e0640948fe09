// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "support/temporary_folder.hpp"

namespace q2l::test {

/// A file of tests/weights/data.
inline std::filesystem::path weight_fixture_path(std::string_view name) {
  return std::filesystem::path(Q2L_TESTS_DIR) / "weights" / "data" / name;
}

inline std::string weight_fixture(std::string_view name) {
  return content_of(weight_fixture_path(name));
}

}  // namespace q2l::test
