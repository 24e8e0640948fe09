// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"

namespace q2l {

/// Throws Error bad_argument unless `actual` is `expected`; `what` names the op and the extent, for
/// example "linear: columns of in".
inline void require_equal(std::size_t actual, std::size_t expected, std::string_view what) {
  if (actual == expected) return;
  throw Error(ErrorCode::bad_argument, "operands do not fit",
              {.subject = std::string(what),
               .expected = std::to_string(expected),
               .actual = std::to_string(actual)});
}

/// Throws Error bad_argument with `detail` unless `condition`.
inline void require_argument(bool condition, std::string_view what, std::string_view detail) {
  if (!condition) throw Error(ErrorCode::bad_argument, detail, {.subject = std::string(what)});
}

}  // namespace q2l
