// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "q2l/escape.hpp"
#include "q2l/exit_code.hpp"
#include "q2l/picture_source.hpp"

namespace q2l::command {

/// Names the files of heat maps: FOLDER/NAME.LABEL.png, with NAME as the picture stands below the
/// path that was asked for; pictures of other folders with the same name get a number. Long names
/// are cut.
class HeatMapFiles {
 public:
  /// Makes the folder. Throws a Failure if it cannot.
  explicit HeatMapFiles(std::string folder) : folder_(std::move(folder)) { make(folder_); }

  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }

  /// The file for one label of a picture; the folders above it exist.
  std::string path_for(const FoundPicture& picture, std::string_view label) {
    const std::filesystem::path file =
        std::filesystem::path(folder_) / (name_of(picture) + "." + cut(safe(label), 60) + ".png");
    make(file.parent_path());
    return file.string();
  }

 private:
  std::string name_of(const FoundPicture& picture) {
    const std::size_t file_name = picture.name.find_last_of('/') + 1;
    const std::string whole =
        picture.name.substr(0, file_name) + cut(picture.name.substr(file_name), 150);
    for (int number = 1;; ++number) {
      const std::string name = number == 1 ? whole : whole + "-" + std::to_string(number);
      const auto [taken, added] = taken_.emplace(name, picture.path);
      if (added || taken->second == picture.path) return name;
    }
  }

  /// A label as a part of a file name.
  static std::string safe(std::string_view label) {
    std::string name;
    for (const char c : label) {
      if (c == '/' || c == '%' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
        name += '%' + hex(std::string_view(&c, 1));
      else
        name += c;
    }
    return name;
  }

  /// At most `most` bytes, so that a name with all its parts has no more than the 255 of most file
  /// systems.
  static std::string cut(std::string name, std::size_t most) {
    if (name.size() > most) {
      const auto continues = [&] {
        return (static_cast<unsigned char>(name[most]) & 0xC0) == 0x80;
      };
      while (most > 0 && continues()) --most;
      name.resize(most);
    }
    return name;
  }

  static void make(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error)
      throw Failure(ExitCode::output,
                    folder.string() + ": cannot make the folder: " + error.message());
  }

  std::string folder_;
  std::map<std::string, std::string> taken_;  ///< name to the path of its picture
};

}  // namespace q2l::command
