// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <string>

namespace q2l {

/// `value`, of less than 1e30, with a fixed number of decimals (up to 20), in any locale.
inline std::string fixed_decimals(double value, int decimals) {
  char digits[64];
  const auto end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, decimals).ptr;
  return {digits, end};
}

}  // namespace q2l
