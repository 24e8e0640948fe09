// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/labels/builtin_labels.hpp"

namespace q2l {

/// How messages count names: by index in the model, or by line of a file.
struct LabelCount {
  std::string_view unit = "label";
  std::size_t first = 0;
};

/// The names of a model's K labels, in the order of its head. Immutable; names are unique and not
/// empty.
class LabelSet {
 public:
  LabelSet() = default;

  /// Throws bad_labels for a name that is blank, not UTF-8 or has a control character
  /// (`is_control`) in it, and duplicate_name for a repeated one; the subject is the place of the
  /// name as `counted` says, for example "label 7" or "line 8".
  explicit LabelSet(std::vector<std::string> names, LabelCount counted = {})
      : names_(std::move(names)) {
    const auto place = [&](std::size_t i) {
      return std::string(counted.unit) + " " + std::to_string(i + counted.first);
    };
    index_.reserve(names_.size());
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (names_[i].find_first_not_of(' ') == std::string::npos)
        throw Error(ErrorCode::bad_labels, "a label without a name", {.subject = place(i)});
      if (escape_controls(names_[i]) != names_[i])
        throw Error(ErrorCode::bad_labels, "a label that cannot be printed",
                    {.subject = place(i), .actual = names_[i]});
      const auto [same, added] = index_.emplace(names_[i], i);
      if (!added)
        throw Error(
            ErrorCode::duplicate_name,
            "the label '" + printable(names_[i]) + "' already stands at " + place(same->second),
            {.subject = place(i)});
    }
  }

  /// The 80 classes of MS-COCO in category-id order.
  static LabelSet coco80() { return of(coco80_names); }
  /// The 20 classes of PASCAL VOC, alphabetical.
  static LabelSet voc20() { return of(voc20_names); }
  /// The 81 concepts of NUS-WIDE in the order of Concepts81.txt.
  static LabelSet nus81() { return of(nus81_names); }
  /// "label 0" to "label K-1".
  static LabelSet numbered(std::size_t count) {
    std::vector<std::string> names;
    names.reserve(count);
    for (std::size_t i = 0; i < count; ++i) names.push_back("label " + std::to_string(i));
    return LabelSet(std::move(names));
  }
  /// What a head of `count` labels most likely means when nothing names them: the data set of that
  /// size (80, 20, 81), else numbers.
  static LabelSet guess(std::size_t count) {
    if (count == coco80_names.size()) return coco80();
    if (count == voc20_names.size()) return voc20();
    if (count == nus81_names.size()) return nus81();
    return numbered(count);
  }

  [[nodiscard]] std::size_t size() const noexcept { return names_.size(); }
  [[nodiscard]] bool empty() const noexcept { return names_.empty(); }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  [[nodiscard]] const std::string& operator[](std::size_t label) const { return names_[label]; }
  [[nodiscard]] auto begin() const noexcept { return names_.begin(); }
  [[nodiscard]] auto end() const noexcept { return names_.end(); }

  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const {
    const auto found = index_.find(std::string(name));
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }

  /// The index of `name`. Throws bad_argument if no label is called so.
  [[nodiscard]] std::size_t index_of(std::string_view name) const {
    if (const auto found = find(name)) return *found;
    throw Error(ErrorCode::bad_argument, "the model has no such label",
                {.subject = std::string(name)});
  }

  /// Throws label_count_mismatch, "SOURCE has 79, head has 80", unless there are `head_labels` of
  /// them.
  void require_size(std::size_t head_labels, std::string_view source) const {
    if (size() == head_labels) return;
    throw Error(ErrorCode::label_count_mismatch, printable(source) + " has " +
                                                     std::to_string(size()) + ", head has " +
                                                     std::to_string(head_labels));
  }

  friend bool operator==(const LabelSet& a, const LabelSet& b) { return a.names_ == b.names_; }

 private:
  static LabelSet of(std::span<const std::string_view> names) {
    return LabelSet(std::vector<std::string>(names.begin(), names.end()));
  }

  std::vector<std::string> names_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace q2l
