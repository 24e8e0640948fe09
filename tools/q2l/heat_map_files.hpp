// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "q2l/escape.hpp"
#include "q2l/exit_code.hpp"
#include "q2l/picture_source.hpp"
#include "query2label/core/crc32.hpp"
#include "query2label/core/utf8.hpp"

namespace q2l::command {

/// Names the files of heat maps: FOLDER/NAME.LABEL.png, with NAME as the picture stands below the
/// path that was asked for; pictures of other folders with the same name get a number. Long names
/// are cut. A label has no dot in its part, so that no two pairs of picture and label share a file.
/// May be used by several threads.
class HeatMapFiles {
 public:
  /// Makes the folder. Throws a Failure if it cannot.
  explicit HeatMapFiles(std::string folder) : folder_(std::move(folder)) { make(folder_); }

  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }

  /// Numbers a picture as the next of its name, unless it has its number. What is named in the same
  /// order in each run has the same files, whatever is drawn.
  void reserve(const FoundPicture& picture) { static_cast<void>(name_of(picture)); }

  /// The file for one label of a picture; the folders above it exist.
  std::string path_for(const FoundPicture& picture, std::string_view label) {
    const std::filesystem::path file =
        std::filesystem::path(folder_) / (name_of(picture) + "." + part_of(label) + ".png");
    make(file.parent_path());
    return file.string();
  }

 private:
  /// Bytes, so that a name with all its parts has no more than the 255 of most file systems.
  static constexpr std::size_t longest_name = 150;

  std::string name_of(const FoundPicture& picture) {
    const std::size_t file_name = picture.name.find_last_of('/') + 1;
    const std::string whole =
        picture.name.substr(0, file_name) +
        std::string(utf8_prefix(std::string_view(picture.name).substr(file_name), longest_name));
    const std::lock_guard lock(mutex_);
    for (int number = 1;; ++number) {
      const std::string name = number == 1 ? whole : whole + "-" + std::to_string(number);
      const auto [taken, added] = taken_.emplace(name, picture.path);
      if (added || taken->second == picture.path) return name;
    }
  }

  /// A label as a part of a file name; a long one is cut and has its checksum.
  static std::string part_of(std::string_view label) {
    constexpr std::size_t longest = 60, checksum_digits = 8;
    std::string name;
    for (const char c : label) {
      if (c == '/' || c == '%' || c == '.' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
        name += '%' + hex(std::string_view(&c, 1));
      else
        name += c;
    }
    if (name.size() <= longest) return name;
    const std::uint32_t checksum = crc32(std::as_bytes(std::span(label)));
    std::string digits;
    for (int shift = 24; shift >= 0; shift -= 8) {
      const char byte = static_cast<char>(checksum >> shift & 0xFFu);
      digits += hex(std::string_view(&byte, 1));
    }
    return std::string(utf8_prefix(name, longest - checksum_digits - 1)) + '-' + digits;
  }

  static void make(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error)
      throw Failure(ExitCode::output,
                    folder.string() + ": cannot make the folder: " + error.message());
  }

  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, std::string> taken_;  ///< name to the path of its picture
};

}  // namespace q2l::command
