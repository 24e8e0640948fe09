// SPDX-License-Identifier: MIT
// The one place that includes nlohmann/json.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <nlohmann/json.hpp>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/utf8.hpp"

namespace q2l {

/// Bounds of one JSON text.
struct JsonBounds {
  std::uint64_t bytes;
  std::uint64_t depth;   ///< nested arrays and objects
  std::uint64_t values;  ///< held in memory at a time
};

/// A JSON value that is freed without asking for memory, which the destructor of nlohmann's does:
/// where there is none, it would end the program.
class JsonDocument {
 public:
  JsonDocument() noexcept = default;
  explicit JsonDocument(nlohmann::json&& value) noexcept : value_(std::move(value)) {}
  JsonDocument(JsonDocument&& other) noexcept : value_(std::move(other.value_)) {}
  JsonDocument& operator=(JsonDocument&& other) noexcept {
    value_.swap(other.value_);
    return *this;
  }
  ~JsonDocument() { empty(value_); }

  [[nodiscard]] nlohmann::json& operator*() noexcept { return value_; }
  [[nodiscard]] const nlohmann::json& operator*() const noexcept { return value_; }
  [[nodiscard]] nlohmann::json* operator->() noexcept { return &value_; }
  [[nodiscard]] const nlohmann::json* operator->() const noexcept { return &value_; }

 private:
  /// From the innermost values outwards, as deep as `Limits` lets them be nested.
  static void empty(nlohmann::json& value) noexcept {
    if (auto* const array = value.get_ptr<nlohmann::json::array_t*>()) {
      for (nlohmann::json& element : *array) empty(element);
      array->clear();
    } else if (auto* const object = value.get_ptr<nlohmann::json::object_t*>()) {
      for (auto& [name, member] : *object) empty(member);
      object->clear();
    }
  }

  nlohmann::json value_;
};

/// Called with each member of a JSON object in the order of the file.
using JsonMemberSink = std::function<void(std::string&& name, const nlohmann::json& value)>;

namespace detail {

/// Reads characters and tells its owner how many have been read, for the place in errors.
class JsonCursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  JsonCursor(const char* at, const char** furthest) noexcept : at_(at), furthest_(furthest) {}
  reference operator*() const noexcept { return *at_; }
  JsonCursor& operator++() noexcept {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const JsonCursor& other) const noexcept { return at_ == other.at_; }
  bool operator!=(const JsonCursor& other) const noexcept { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

/// Receives the parser's events and builds values within the bounds; nothing here recurses. With a
/// sink, the members of the outermost object are handed over one at a time instead of being kept.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, const JsonBounds& bounds, std::uint64_t file_offset,
              JsonMemberSink sink)
      : text_(text),
        bounds_(bounds),
        file_offset_(file_offset),
        sink_(std::move(sink)),
        furthest_(text.data()) {}

  JsonDocument build() {
    if (text_.size() > bounds_.bytes)
      throw Error(ErrorCode::limit_exceeded, "the JSON text is too large",
                  {.offset = file_offset_,
                   .expected = "at most " + std::to_string(bounds_.bytes) + " bytes",
                   .actual = std::to_string(text_.size())});
    require_utf8();
    nlohmann::json::sax_parse(JsonCursor(text_.data(), &furthest_),
                              JsonCursor(text_.data() + text_.size(), &furthest_), this);
    return std::move(root_);
  }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(std::int64_t value) override { return scalar(value); }
  bool number_unsigned(std::uint64_t value) override { return scalar(value); }
  bool number_float(double value, const std::string&) override { return scalar(value); }
  bool string(std::string& value) override { return scalar(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // only other formats have it
  bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (sink_ && open_.size() == 1) {
      member_name_ = std::move(name);
      member_ = JsonDocument();
      slot_ = &*member_;
      return true;
    }
    const auto [place, added] =
        open_.back()->get_ref<nlohmann::json::object_t&>().try_emplace(std::move(name), nullptr);
    if (!added)
      fail(ErrorCode::duplicate_name, "the name '" + printable(place->first) + "' appears twice");
    slot_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    // The cursor may be one further: the end of a number is seen at the character behind it.
    furthest_ = text_.data() + std::min(position, text_.size());
    std::string_view message = error.what();
    for (const std::string_view lead :
         {"] ", ": "})  // "[...] parse error at line 1, column 2: ..."
      if (const auto at = message.find(lead); at != std::string_view::npos && at < 80)
        message.remove_prefix(at + lead.size());
    const bool encoding = message.find("surrogate") != std::string_view::npos;
    fail(encoding ? ErrorCode::bad_encoding : ErrorCode::bad_json, printable(message));
  }

 private:
  void require_utf8() {
    const std::string_view start = text_.substr(0, 2);
    if (start == "\xFF\xFE" || start == "\xFE\xFF" || start.find('\0') != std::string_view::npos)
      fail(ErrorCode::bad_json, "JSON is UTF-8 text; this looks like UTF-16 or binary data");
    if (const std::size_t nul = text_.find('\0'); nul != std::string_view::npos) {
      furthest_ = text_.data() + nul + 1;  // nlohmann's parser would take it for the end
      fail(ErrorCode::bad_json, "a NUL");
    }
    const std::size_t invalid = find_invalid_utf8(text_);
    if (invalid == std::string_view::npos) return;
    furthest_ = text_.data() + invalid + 1;
    fail(ErrorCode::bad_encoding, "not UTF-8 text");
  }

  bool scalar(nlohmann::json value) {
    place(std::move(value));
    finish_member();
    return true;
  }

  bool open(nlohmann::json container) {
    if (open_.size() >= bounds_.depth)
      fail(ErrorCode::limit_exceeded,
           "nested deeper than " + std::to_string(bounds_.depth) + " levels");
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    finish_member();
    return true;
  }

  nlohmann::json* place(nlohmann::json&& value) {
    if (++values_ > bounds_.values)
      fail(ErrorCode::limit_exceeded, "more than " + std::to_string(bounds_.values) + " values");
    if (open_.empty()) {
      if (sink_ && !value.is_object()) fail(ErrorCode::bad_json, "expected an object");
      slot_ = &*root_;
    } else if (open_.back()->is_array()) {
      slot_ = &open_.back()->get_ref<nlohmann::json::array_t&>().emplace_back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  void finish_member() {
    if (!sink_ || open_.size() != 1) return;
    sink_(std::move(member_name_), *member_);
    values_ = 0;
  }

  /// The place of an error is the last character read.
  [[noreturn]] void fail(ErrorCode code, std::string_view detail) const {
    const auto read = static_cast<std::size_t>(furthest_ - text_.data());
    const std::string_view before = text_.substr(0, read == 0 ? 0 : read - 1);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0: the first line
    throw Error(code, detail,
                {.offset = file_offset_ + before.size(),
                 .subject = "line " + std::to_string(line) + ", column " +
                            std::to_string(before.size() - line_start + 1)});
  }

  std::string_view text_;
  JsonBounds bounds_;
  std::uint64_t file_offset_;
  JsonMemberSink sink_;
  const char* furthest_;
  JsonDocument root_;
  nlohmann::json* slot_ = nullptr;     ///< where the next value goes
  std::vector<nlohmann::json*> open_;  ///< the containers that are not yet closed, outermost first
  std::uint64_t values_ = 0;
  std::string member_name_;
  JsonDocument member_;
};

}  // namespace detail

/// The value that a JSON text (RFC 8259, UTF-8, a byte order mark allowed) holds. Errors name line
/// and column: bad_json, bad_encoding, duplicate_name, limit_exceeded. Numbers beyond a double are
/// bad_json.
inline JsonDocument parse_json(std::string_view text, std::string_view path,
                               const Limits& limits = {}) try {
  return detail::JsonBuilder(text, {limits.json_bytes, limits.json_depth, limits.json_values}, 0,
                             nullptr)
      .build();
} catch (const Error& error) {
  throw error.in_file(path);
}

/// A value of a file's metadata that is itself JSON. Errors name the key; their line and column are
/// those of the value.
inline JsonDocument parse_metadata(const std::map<std::string, std::string>& metadata,
                                   const std::string& key, const Limits& limits) {
  const auto at = metadata.find(key);
  if (at == metadata.end())
    throw Error(ErrorCode::missing_entry, "the metadata lack a key", {.subject = key});
  try {
    return parse_json(at->second, "", limits);
  } catch (const Error& error) {
    throw Error(error.code(), "in the metadata '" + key + "': " + error.detail(),
                {.subject = error.place().subject,
                 .expected = error.place().expected,
                 .actual = error.place().actual});
  }
}

/// Hands each member of the JSON object that begins at `file_offset` of its file to `sink` and
/// forgets it: memory stays that of the largest member. The sink sees repeated names as they come.
inline void for_each_json_member(std::string_view text, const JsonBounds& bounds,
                                 std::uint64_t file_offset, JsonMemberSink sink) {
  detail::JsonBuilder(text, bounds, file_offset, std::move(sink)).build();
}

/// `text`, which must be UTF-8 (bad_encoding), as a JSON string with its quotes.
inline std::string json_quoted(std::string_view text) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    throw Error(ErrorCode::bad_encoding, "not UTF-8 text", {.subject = std::string(text)});
  return nlohmann::json(text).dump();
}

}  // namespace q2l
