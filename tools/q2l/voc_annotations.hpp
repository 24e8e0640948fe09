// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "q2l/annotated_picture.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/read_file.hpp"
#include "query2label/core/utf8.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/metrics/scored_images.hpp"

namespace q2l::command {
namespace detail {

/// Calls `take(first word, second word, line number)` for each line of a text file.
template <class Take>
void for_each_voc_line(const std::filesystem::path& file, Take&& take) try {
  const std::vector<std::byte> bytes = read_file(file, Limits{}.label_file_bytes);
  std::string_view text =
      without_byte_order_mark({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  constexpr std::string_view space = " \t\r";
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    std::string_view words[2];
    for (std::string_view& word : words) {
      line.remove_prefix(std::min(line.find_first_not_of(space), line.size()));
      word = line.substr(0, line.find_first_of(space));
      line.remove_prefix(word.size());
    }
    if (line.find_first_not_of(space) != std::string_view::npos)
      throw Error(ErrorCode::bad_labels, "more than two words in a line",
                  {.subject = "line " + std::to_string(number)});
    if (!words[0].empty()) take(words[0], words[1], number);
  }
} catch (const Error& error) {
  throw error.in_file(file.string());
}

}  // namespace detail

/// The pictures of a PASCAL VOC folder (with JPEGImages and ImageSets/Main) that `split` lists, in
/// its order. A label is true as LABEL_SPLIT.txt says: 1 or -1, 0 for what is difficult to see and
/// not judged. Throws bad_labels, duplicate_name, missing_entry (a list names a picture that the
/// split has not, or lacks one), path_escape and errors of read_file, all naming the file.
inline std::vector<AnnotatedPicture> read_voc_annotations(const std::filesystem::path& folder,
                                                          const std::string& split,
                                                          const LabelSet& labels) try {
  const std::filesystem::path lists = folder / "ImageSets" / "Main";
  const std::filesystem::path list = file_below(lists, split + ".txt");
  std::vector<AnnotatedPicture> pictures;
  std::unordered_map<std::string, std::size_t> picture_of;
  detail::for_each_voc_line(list, [&](std::string_view name, std::string_view, std::size_t number) {
    if (!picture_of.emplace(name, pictures.size()).second)
      throw Error(ErrorCode::duplicate_name, "a picture is listed twice",
                  {.subject = "line " + std::to_string(number)});
    pictures.push_back({file_below(folder / "JPEGImages", std::string(name) + ".jpg").string(),
                        std::vector<std::uint8_t>(labels.size())});
  });
  for (std::size_t k = 0; k < labels.size(); ++k) {
    const std::filesystem::path truths = file_below(lists, labels[k] + "_" + split + ".txt");
    std::size_t known = 0;
    std::vector<bool> is_known(pictures.size());
    detail::for_each_voc_line(
        truths, [&](std::string_view name, std::string_view truth, std::size_t number) {
          const auto fail = [&](ErrorCode code, std::string_view detail) {
            throw Error(code, detail, {.subject = "line " + std::to_string(number)});
          };
          const auto picture = picture_of.find(std::string(name));
          if (picture == picture_of.end())
            fail(ErrorCode::missing_entry, "a picture that the split does not list");
          if (is_known[picture->second])
            fail(ErrorCode::duplicate_name, "a picture is listed twice");
          is_known[picture->second] = true;
          if (truth != "1" && truth != "0" && truth != "-1")
            fail(ErrorCode::bad_labels, "the second word is none of 1, 0 and -1");
          pictures[picture->second].truth[k] = truth == "1" ? 1 : truth == "0" ? unjudged : 0;
          ++known;
        });
    if (known != pictures.size())
      throw Error(ErrorCode::missing_entry, "not a line for each picture of the split",
                  {.path = truths.string(),
                   .expected = std::to_string(pictures.size()),
                   .actual = std::to_string(known)});
  }
  return pictures;
} catch (const Error& error) {
  throw error.in_file(folder.string());
}

}  // namespace q2l::command
