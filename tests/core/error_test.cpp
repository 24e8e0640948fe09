// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <query2label/core/error.hpp>
#include <query2label/core/shape_check.hpp>
#include <set>
#include <string>
#include <string_view>

#include "support/error_of.hpp"

using q2l::Error;
using q2l::ErrorCode;

TEST_CASE("Every error code has a name of its own", "[core]") {
  std::set<std::string_view> names;
  const int last = static_cast<int>(ErrorCode::gpu);
  for (int code = 0; code <= last; ++code) {
    const std::string_view name = to_string(static_cast<ErrorCode>(code));
    CAPTURE(code, name);
    CHECK(name != "Unknown");
    CHECK(names.insert(name).second);
  }
  CHECK(to_string(static_cast<ErrorCode>(last + 1)) == "Unknown");
  CHECK(to_string(ErrorCode::bad_shape) == "BadShape");
}

TEST_CASE("The message names whatever is known of the place, and nothing else", "[core]") {
  CHECK(std::string(Error(ErrorCode::io, "cannot open").what()) == "cannot open [Io]");
  const Error full(
      ErrorCode::bad_shape, "a dimension is zero",
      {.path = "m.pkl", .offset = 42, .subject = "fc.W", .expected = "3", .actual = "0"});
  CHECK(std::string(full.what()) ==
        "m.pkl: 'fc.W': a dimension is zero; expected 3, got 0 (byte 42) [BadShape]");
  CHECK(std::string(Error(ErrorCode::io, "odd", {.actual = "7"}).what()) == "odd; got 7 [Io]");
  CHECK(std::string(Error(ErrorCode::io, "odd", {.offset = 0}).what()) == "odd (byte 0) [Io]");
  CHECK(full.code() == ErrorCode::bad_shape);
  CHECK(full.detail() == "a dimension is zero");
  CHECK(full.place().subject == "fc.W");
}

TEST_CASE("Naming the file of an error keeps all else, and a file already named", "[core]") {
  const Error bytes(ErrorCode::truncated, "ends early", {.offset = 8, .subject = "entry"});
  const Error named = bytes.in_file("a.zip");
  CHECK(named.code() == ErrorCode::truncated);
  CHECK(named.place().path == "a.zip");
  CHECK(named.place().offset == 8);
  CHECK(std::string(named.what()) == "a.zip: 'entry': ends early (byte 8) [Truncated]");
  CHECK(named.in_file("b.zip").place().path == "a.zip");
}

TEST_CASE("Text from files is printed without control bytes and not longer than 200 bytes",
          "[core]") {
  using namespace std::string_view_literals;
  CHECK(q2l::printable("plain \xC3\xA9") == "plain \xC3\xA9");
  CHECK(q2l::printable("a\nb\x1b[0m\0c\x7f"sv) == "a\\x0ab\\x1b[0m\\x00c\\x7f");
  CHECK(q2l::printable("\xC2\x9B\xE2\x80\xAE\xFF\xC3") == "\\xc2\\x9b\\xe2\\x80\\xae\\xff\\xc3");
  CHECK(q2l::printable(std::string(199, 'x') + "\xC3\xA9") == std::string(199, 'x') + "...");
  CHECK(q2l::printable("") == "");
  CHECK(q2l::printable(std::string(200, 'x')) == std::string(200, 'x'));
  CHECK(q2l::printable(std::string(201, 'x')) == std::string(200, 'x') + "...");
  const Error hostile(ErrorCode::io, "bad", {.path = "a\nb", .subject = "\r", .actual = "\t"});
  CHECK(std::string(hostile.what()) == "a\\x0ab: '\\x0d': bad; got \\x09 [Io]");
}

TEST_CASE("Shape checks name the op, what was expected and what was given", "[core]") {
  CHECK_NOTHROW(q2l::require_equal(3, 3, "op: rows"));
  CHECK_NOTHROW(q2l::require_argument(true, "op", "must hold"));
  const Error unequal = q2l::test::error_of([] { q2l::require_equal(4, 3, "op: rows"); });
  CHECK(unequal.code() == ErrorCode::bad_argument);
  CHECK(unequal.place().subject == "op: rows");
  CHECK(unequal.place().expected == "3");
  CHECK(unequal.place().actual == "4");
  const Error untrue = q2l::test::error_of([] { q2l::require_argument(false, "op", "must hold"); });
  CHECK(untrue.code() == ErrorCode::bad_argument);
  CHECK(untrue.place().subject == "op");
  CHECK(untrue.detail() == "must hold");
}
