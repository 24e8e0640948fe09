// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"

namespace q2l::command {

/// A picture and what people saw in it.
struct AnnotatedPicture {
  std::string path;
  std::vector<std::uint8_t> truth;  ///< [K], as ScoredImages has it
};

/// The file `name` of a folder. Throws path_escape for a name that leads out of it.
inline std::filesystem::path file_below(const std::filesystem::path& folder,
                                        const std::filesystem::path& name) {
  if (name.is_absolute() || std::ranges::find(name, "..") != name.end())
    throw Error(ErrorCode::path_escape, "the name of a file leads out of its folder",
                {.subject = name.string()});
  return folder / name;
}

}  // namespace q2l::command
