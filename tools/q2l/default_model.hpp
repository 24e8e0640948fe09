// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

namespace q2l::command {

/// The bundled model's file: `installed`, from the folder of this program, or else `bundled`, in
/// the source tree; empty where there is neither.
inline std::string default_model(const std::string& installed, const std::string& bundled) {
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const std::filesystem::path beside = (self.parent_path() / installed).lexically_normal();
  if (!self.empty() && std::filesystem::is_regular_file(beside, ignored)) return beside.string();
  return std::filesystem::is_regular_file(bundled, ignored) ? bundled : "";
}

}  // namespace q2l::command
