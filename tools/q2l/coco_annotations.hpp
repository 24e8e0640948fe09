// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "q2l/annotated_picture.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/mapped_file.hpp"

namespace q2l::command {
namespace detail {

/// Takes what says which categories an image has out of COCO's JSON while it is parsed, and lets
/// the parser forget the rest: outlines are most of a file of 150 MB.
class CocoParts {
 public:
  using Json = nlohmann::json;
  struct Named {
    std::int64_t id;
    std::string name;
  };

  std::vector<Named> images, categories;
  std::vector<std::pair<std::int64_t, std::int64_t>> annotations;  ///< image, category

  /// The parser's callback: whether to keep what it has just read.
  bool operator()(int depth, Json::parse_event_t event, Json& value) {
    if (static_cast<std::uint64_t>(depth) > Limits{}.json_depth)
      throw Error(ErrorCode::limit_exceeded, "nested too deep");
    constexpr int member = 1, element = 2, field = 3;
    if (event == Json::parse_event_t::key && depth == member)
      section_ = value.get<std::string>();
    else if (event == Json::parse_event_t::key && depth == field)
      return value == "id" || value == "name" || value == "file_name" || value == "image_id" ||
             value == "category_id";
    else if (event == Json::parse_event_t::object_end && depth == element)
      return take(value);
    return true;
  }

 private:
  bool take(const Json& value) {
    const auto id = [&](const char* key) {
      const Json& number = value.at(key);
      if (!number.is_number_integer())
        throw Error(ErrorCode::bad_json, "an id that is no whole number", {.subject = key});
      return number.get<std::int64_t>();
    };
    if (section_ == "images")
      images.push_back({id("id"), value.at("file_name").get<std::string>()});
    else if (section_ == "categories")
      categories.push_back({id("id"), value.at("name").get<std::string>()});
    else if (section_ == "annotations")
      annotations.emplace_back(id("image_id"), id("category_id"));
    return false;
  }

  std::string section_;
};

inline CocoParts parse_coco(std::string_view text) {
  CocoParts parts;
  try {
    [[maybe_unused]] const auto rest = nlohmann::json::parse(text, std::ref(parts));
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorCode::bad_json, "not JSON", {.offset = error.byte});
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::bad_json, "not annotations as COCO has them",
                {.expected = "images with id and file_name, categories with id and name, "
                             "annotations with image_id and category_id"});
  }
  return parts;
}

}  // namespace detail

/// The images of a COCO file (instances_*.json), which lie in `folder`, in the order of the file.
/// A category is true of an image that has an annotation of it, a crowd's too. The file's
/// categories must be the model's labels, in any order. Throws bad_json, bad_labels,
/// duplicate_name, missing_entry (an annotation of what is not listed), path_escape and errors of
/// MappedFile, all naming the file.
inline std::vector<AnnotatedPicture> read_coco_annotations(const std::filesystem::path& file,
                                                           const std::filesystem::path& folder,
                                                           const LabelSet& labels) try {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  const detail::CocoParts parts =
      detail::parse_coco({reinterpret_cast<const char*>(bytes.data()), bytes.size()});

  std::unordered_map<std::int64_t, std::size_t> label_of, picture_of;
  std::vector<bool> has_category(labels.size());
  for (const auto& [id, name] : parts.categories) {
    const auto label = labels.find(name);
    if (!label)
      throw Error(ErrorCode::bad_labels, "the model has no label of this category's name",
                  {.subject = name});
    if (!label_of.emplace(id, *label).second || has_category[*label])
      throw Error(ErrorCode::duplicate_name, "a category is listed twice",
                  {.subject = name + " (" + std::to_string(id) + ")"});
    has_category[*label] = true;
  }
  if (label_of.size() != labels.size())
    throw Error(ErrorCode::bad_labels, "the categories are not the model's labels",
                {.expected = std::to_string(labels.size()) + " categories",
                 .actual = std::to_string(label_of.size())});

  std::vector<AnnotatedPicture> pictures;
  for (const auto& [id, name] : parts.images) {
    if (!picture_of.emplace(id, pictures.size()).second)
      throw Error(ErrorCode::duplicate_name, "an image is listed twice",
                  {.subject = "image " + std::to_string(id)});
    pictures.push_back(
        {file_below(folder, name).string(), std::vector<std::uint8_t>(labels.size())});
  }
  for (const auto& [image, category] : parts.annotations) {
    const auto picture = picture_of.find(image);
    const auto label = label_of.find(category);
    if (picture == picture_of.end() || label == label_of.end())
      throw Error(
          ErrorCode::missing_entry, "an annotation of an image or category not listed",
          {.subject = "image " + std::to_string(image) + ", category " + std::to_string(category)});
    pictures[picture->second].truth[label->second] = 1;
  }
  return pictures;
} catch (const Error& error) {
  throw error.in_file(file.string());
}

}  // namespace q2l::command
