// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/weights/json_document.hpp"

namespace q2l {

/// A key that nothing reads, though it is nearly the one of something that was left out.
struct MisspeltKey {
  std::string key;
  std::string nearest;
};

namespace detail {

/// Letters to add, leave out or change to make one word of the other (Levenshtein's distance).
/// Capitals count as small letters and hyphens as underscores.
inline std::size_t spelling_distance(std::string_view a, std::string_view b) {
  const auto plain = [](char c) {
    return c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  };
  std::vector<std::size_t> row(b.size() + 1);  // distances of a's beginning from all of b's
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (plain(a[i]) == plain(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// Reads typed values of a configuration; every failure names the key.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& document) : document_(document) {
    if (!document.is_object()) {
      throw Error(ErrorCode::bad_config, "the configuration is not a JSON object");
    }
  }

  [[nodiscard]] const nlohmann::json* find(const std::string& key) const {
    read_.insert(key);
    const auto found = document_.find(key);
    return found == document_.end() || found->is_null() ? nullptr : &*found;
  }

  /// A whole number of at least `least` and at most `most`; nothing when the key is absent.
  [[nodiscard]] std::optional<std::size_t> number(const std::string& key, std::size_t least,
                                                  std::size_t most) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < least ||
        value->get<std::uint64_t>() > most) {
      fail(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most),
           value->dump());
    }
    return value->get<std::size_t>();
  }

  [[nodiscard]] std::optional<bool> flag(const std::string& key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) fail(key, "true or false", value->dump());
    return value->get<bool>();
  }

  [[nodiscard]] std::optional<std::string> text(const std::string& key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) fail(key, "a string", value->dump());
    return value->get<std::string>();
  }

  /// Keys that were not asked for, with one that was and is absent, a letter apart (two where it is
  /// long). Others are left alone: the reference's configurations describe its training, too.
  [[nodiscard]] std::vector<MisspeltKey> misspelt_keys() const {
    constexpr std::size_t longest = 64;  // of a key that is compared
    constexpr std::size_t long_key = 8;
    constexpr std::size_t most_keys = 1000;  // of a configuration that somebody wrote
    std::vector<MisspeltKey> misspelt;
    if (document_.size() > most_keys) return misspelt;
    for (const auto& item : document_.items()) {
      if (read_.contains(item.key()) || item.key().size() > longest) continue;
      for (const std::string& key : read_) {
        const std::size_t most = key.size() < long_key ? 1 : 2;
        const auto [shorter, longer] = std::minmax({key.size(), item.key().size()});
        if (longer - shorter <= most && !document_.contains(key) &&
            spelling_distance(item.key(), key) <= most) {
          misspelt.push_back({item.key(), key});
          break;
        }
      }
    }
    return misspelt;
  }

  /// What the weights say must be what the configuration says, if it says anything.
  template <class T>
  static void require_same(const std::string& key, const std::optional<T>& configured, T found) {
    if (!configured || *configured == found) return;
    fail(key, nlohmann::json(found).dump() + ", as the weights have it",
         nlohmann::json(*configured).dump());
  }

  [[noreturn]] static void fail(const std::string& key, const std::string& expected,
                                const std::string& actual) {
    throw Error(ErrorCode::bad_config, "the configuration does not fit",
                {.subject = key, .expected = expected, .actual = actual});
  }

 private:
  const nlohmann::json& document_;
  mutable std::set<std::string> read_;
};

}  // namespace detail
}  // namespace q2l
