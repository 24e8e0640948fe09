// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "query2label/core/error.hpp"

namespace q2l::fuzz {

/// Ends the process, which the fuzzer reports with its input, unless `holds`.
inline void check(bool holds, const char* rule) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", rule);
  std::abort();
}

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void check_inside(std::span<const std::byte> part, std::span<const std::byte> file) {
  if (part.empty()) return;
  check(part.data() >= file.data() && part.data() + part.size() <= file.data() + file.size(),
        "what was read lies in the file");
}

/// Inputs that `accepts` has found accepted.
inline std::size_t accepted_inputs = 0;

/// Whether `read` accepts an input of `size` bytes. A refusal is an Error with words, about `path`
/// (empty: the reader sees only bytes) and about a byte of the input, if any. All else gets through
/// and ends the process.
template <class Read>
bool accepts(std::size_t size, std::string_view path, Read&& read) try {
  read();
  ++accepted_inputs;
  return true;
} catch (const Error& error) {
  check(!error.detail().empty(), "an error has words");
  check(error.place().path == path, "an error names its file");
  check(error.place().offset.value_or(0) <= size, "an error is about a byte of the file");
  return false;
}

}  // namespace q2l::fuzz
