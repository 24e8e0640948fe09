// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/utf8.hpp"

namespace q2l::detail {

/// Throws bad_header for names that are empty, too long or hold a NUL, bad_encoding for those that
/// are not UTF-8. Other characters are escaped where a name is printed.
inline void require_tensor_name(std::string_view name, const Limits& limits) {
  const auto fail = [&](ErrorCode code, std::string_view detail) {
    throw Error(code, detail, {.subject = std::string(name.substr(0, limits.tensor_name_bytes))});
  };
  if (name.empty() || name.find('\0') != std::string_view::npos)
    fail(ErrorCode::bad_header, "a tensor's name is empty or holds a NUL");
  if (name.size() > limits.tensor_name_bytes)
    fail(ErrorCode::bad_header,
         "a tensor's name is longer than " + std::to_string(limits.tensor_name_bytes) + " bytes");
  if (find_invalid_utf8(name) != std::string_view::npos)
    fail(ErrorCode::bad_encoding, "a tensor's name is not UTF-8 text");
}

/// Sorts `names`. Throws duplicate_name, saying `detail`, where two of them are the same.
template <class Name>
void sort_distinct(std::vector<Name>& names, std::string_view detail) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    throw Error(ErrorCode::duplicate_name, detail, {.subject = std::string(*twice)});
}

/// How many characters of wrappers' prefixes (`module.`, `model.`, torch.compile's `_orig_mod.`, in
/// any order) every one of `names` begins with, so that names remain behind them.
inline std::size_t common_prefix_length(std::span<const std::string_view> names) {
  constexpr int deepest = 4;  // wrappers around wrappers
  std::size_t length = 0;
  const auto all_continue_with = [&](std::string_view prefix) {
    return !names.empty() && std::all_of(names.begin(), names.end(), [&](std::string_view name) {
      return name.substr(length).starts_with(prefix) && name.size() > length + prefix.size();
    });
  };
  for (int depth = 0; depth < deepest; ++depth)
    for (const std::string_view prefix : {"module.", "model.", "_orig_mod."})
      if (all_continue_with(prefix)) length += prefix.size();
  return length;
}

}  // namespace q2l::detail
