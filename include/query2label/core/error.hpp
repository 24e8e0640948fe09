// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "query2label/core/utf8.hpp"

namespace q2l {

/// What kind of thing went wrong. `to_string` gives the name that messages print.
enum class ErrorCode {
  // files
  io,
  not_regular_file,
  file_changed,
  path_escape,
  out_of_memory,
  output_io,
  // containers and parsers
  truncated,
  bad_magic,
  bad_header,
  limit_exceeded,
  bad_encoding,
  bad_shape,
  bad_offset,
  size_mismatch,
  overlap,
  duplicate_name,
  bad_dtype,
  bad_json,
  bad_zip,
  encrypted,
  unsupported_zip,
  checksum_mismatch,
  unsupported_compression,
  missing_entry,
  ambiguous,
  unsupported,
  // pickle
  bad_opcode,
  stack_underflow,
  forbidden_global,
  bad_memo,
  cycle,
  bad_storage,
  unsupported_tensor,
  // configuration and weights
  bad_config,
  missing_tensor,
  unexpected_tensor,
  shape_mismatch,
  non_finite,
  bad_weights,
  self_test_failed,
  label_count_mismatch,
  bad_labels,
  // images
  image_unsupported,
  image_truncated,
  image_too_large,
  bad_image,
  // calls
  bad_argument,
  non_finite_output,
  unsupported_cpu,
  gpu,
};

/// The name of a code as messages print it, for example "BadShape".
constexpr std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::io:
      return "Io";
    case ErrorCode::not_regular_file:
      return "NotRegularFile";
    case ErrorCode::file_changed:
      return "FileChanged";
    case ErrorCode::path_escape:
      return "PathEscape";
    case ErrorCode::out_of_memory:
      return "OutOfMemory";
    case ErrorCode::output_io:
      return "OutputIo";
    case ErrorCode::truncated:
      return "Truncated";
    case ErrorCode::bad_magic:
      return "BadMagic";
    case ErrorCode::bad_header:
      return "BadHeader";
    case ErrorCode::limit_exceeded:
      return "LimitExceeded";
    case ErrorCode::bad_encoding:
      return "BadEncoding";
    case ErrorCode::bad_shape:
      return "BadShape";
    case ErrorCode::bad_offset:
      return "BadOffset";
    case ErrorCode::size_mismatch:
      return "SizeMismatch";
    case ErrorCode::overlap:
      return "Overlap";
    case ErrorCode::duplicate_name:
      return "DuplicateName";
    case ErrorCode::bad_dtype:
      return "BadDtype";
    case ErrorCode::bad_json:
      return "BadJson";
    case ErrorCode::bad_zip:
      return "BadZip";
    case ErrorCode::encrypted:
      return "Encrypted";
    case ErrorCode::unsupported_zip:
      return "UnsupportedZip";
    case ErrorCode::checksum_mismatch:
      return "ChecksumMismatch";
    case ErrorCode::unsupported_compression:
      return "UnsupportedCompression";
    case ErrorCode::missing_entry:
      return "MissingEntry";
    case ErrorCode::ambiguous:
      return "Ambiguous";
    case ErrorCode::unsupported:
      return "Unsupported";
    case ErrorCode::bad_opcode:
      return "BadOpcode";
    case ErrorCode::stack_underflow:
      return "StackUnderflow";
    case ErrorCode::forbidden_global:
      return "ForbiddenGlobal";
    case ErrorCode::bad_memo:
      return "BadMemo";
    case ErrorCode::cycle:
      return "Cycle";
    case ErrorCode::bad_storage:
      return "BadStorage";
    case ErrorCode::unsupported_tensor:
      return "UnsupportedTensor";
    case ErrorCode::bad_config:
      return "BadConfig";
    case ErrorCode::missing_tensor:
      return "MissingTensor";
    case ErrorCode::unexpected_tensor:
      return "UnexpectedTensor";
    case ErrorCode::shape_mismatch:
      return "ShapeMismatch";
    case ErrorCode::non_finite:
      return "NonFinite";
    case ErrorCode::bad_weights:
      return "BadWeights";
    case ErrorCode::self_test_failed:
      return "SelfTestFailed";
    case ErrorCode::label_count_mismatch:
      return "LabelCountMismatch";
    case ErrorCode::bad_labels:
      return "BadLabels";
    case ErrorCode::image_unsupported:
      return "ImageUnsupported";
    case ErrorCode::image_truncated:
      return "ImageTruncated";
    case ErrorCode::image_too_large:
      return "ImageTooLarge";
    case ErrorCode::bad_image:
      return "BadImage";
    case ErrorCode::bad_argument:
      return "BadArgument";
    case ErrorCode::non_finite_output:
      return "NonFiniteOutput";
    case ErrorCode::unsupported_cpu:
      return "UnsupportedCpu";
    case ErrorCode::gpu:
      return "Gpu";
  }
  return "Unknown";
}

/// True for a character that could mislead whoever reads it on a terminal or in a log: a control
/// character, the end of a line, or one that turns the direction of writing.
constexpr bool is_control(char32_t c) noexcept {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x61C || c == 0x200E || c == 0x200F ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/// `text` with the bytes of control characters, and those that are not UTF-8, as \xNN.
inline std::string escape_controls(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character character = decode_utf8(text, at);
    const std::string_view bytes = text.substr(at, std::max<std::size_t>(character.length, 1));
    at += bytes.size();
    if (character.length > 0 && !is_control(character.code)) {
      out += bytes;
      continue;
    }
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

/// Text from a file made safe for a message: `escape_controls`, cut at 200 bytes.
inline std::string printable(std::string_view text) {
  const std::string_view start = utf8_prefix(text, 200);
  std::string out = escape_controls(start);
  if (start.size() < text.size()) out += "...";
  return out;
}

/// Where and how something failed. Every field may be empty; the message names those that are not.
struct ErrorPlace {
  std::string path{};                     ///< the file
  std::optional<std::uint64_t> offset{};  ///< byte offset in the file
  std::string subject{};                  ///< tensor, entry, key, line or argument
  std::string expected{};
  std::string actual{};
};

/// The one exception type of the library: code, file, place, expected and actual. Visible, so that
/// it is one type in all shared libraries of a program, those with hidden symbols too.
class [[gnu::visibility("default")]] Error : public std::runtime_error {
 public:
  /// `detail` says in words what is wrong; it need not repeat what `place` holds.
  Error(ErrorCode code, std::string_view detail, ErrorPlace place = {})
      : std::runtime_error(message(code, detail, place)),
        code_(code),
        detail_(detail),
        place_(std::move(place)) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& detail() const noexcept { return detail_; }
  [[nodiscard]] const ErrorPlace& place() const noexcept { return place_; }

  /// The same error with the file named, for parsers that see only bytes. Keeps a path already set.
  [[nodiscard]] Error in_file(std::string_view path) const {
    ErrorPlace place = place_;
    if (place.path.empty()) place.path = path;
    return {code_, detail_, std::move(place)};
  }

 private:
  static std::string message(ErrorCode code, std::string_view detail, const ErrorPlace& place) {
    std::string out;
    if (!place.path.empty()) out.append(printable(place.path)).append(": ");
    if (!place.subject.empty()) out.append("'").append(printable(place.subject)).append("': ");
    out.append(detail);
    if (!place.expected.empty()) out.append("; expected ").append(printable(place.expected));
    if (!place.actual.empty()) {
      out.append(place.expected.empty() ? "; got " : ", got ").append(printable(place.actual));
    }
    if (place.offset) out.append(" (byte ").append(std::to_string(*place.offset)).append(")");
    out.append(" [").append(to_string(code)).append("]");
    return out;
  }

  ErrorCode code_;
  std::string detail_;
  ErrorPlace place_;
};

/// What `work` returns; where memory runs out, or something is larger than memory can be, an Error
/// out_of_memory about `path` (which may be empty) that says `detail`, as long as there is memory
/// for that.
template <class Work>
decltype(auto) with_memory_error(std::string_view detail, std::string_view path, Work&& work) try {
  return work();
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::out_of_memory, detail, {.path = std::string(path)});
} catch (const std::length_error&) {
  throw Error(ErrorCode::out_of_memory, detail, {.path = std::string(path)});
}

}  // namespace q2l
