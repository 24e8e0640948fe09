// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <query2label/weights/json_document.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/error_of.hpp"

namespace {

using q2l::ErrorCode;
using q2l::parse_json;
using q2l::test::error_of;
using namespace std::string_literals;

q2l::Error json_error(const std::string& text, const q2l::Limits& limits = {}) {
  return error_of([&] { (void)parse_json(text, "config.json", limits); });
}

}  // namespace

TEST_CASE("JSON values of every kind are read", "[weights][json]") {
  const q2l::JsonDocument document = parse_json(
      "\xEF\xBB\xBF{\"a\": [1, -2, 2.5, true, null, \"\\u00e9\\ud83d\\ude00\"],\r\n\"b\":{}}", "x");
  const nlohmann::json& value = *document;
  CHECK(value["a"][0] == 1);
  CHECK(value["a"][1] == -2);
  CHECK(value["a"][2] == 2.5);
  CHECK(value["a"][3] == true);
  CHECK(value["a"][4].is_null());
  CHECK(value["a"][5] == "\xC3\xA9\xF0\x9F\x98\x80");
  CHECK(value["b"].is_object());
  CHECK(parse_json("null", "x")->is_null());
  CHECK(*parse_json(" 7 ", "x") == 7);
}

TEST_CASE("Broken JSON is reported with line and column", "[weights][json][J1][J2]") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "line 1, column 1"},
      {" \n ", "line 2, column 1"},
      {"{\"a\": 1,\n \"b\": 2,}", "line 2, column 9"},
      {"[1, // no\n2]", "line 1, column 5"},
      {"[NaN]", "line 1, column 2"},
      {"[Infinity]", "line 1, column 2"},
      {"[01]", "line 1, column 3"},
      {"[+1]", "line 1, column 2"},
      {"[0x1]", "line 1, column 3"},
      {"['a']", "line 1, column 2"},
      {"[1]\n[2]", "line 2, column 1"},
      {"{\"a\" 1}", "line 1, column 6"},
      {"[1e999]", "line 1, column 6"},
      {"\xFF\xFE{\0}\0"s, "line 1, column 1"},
      {"{\0}"s, "line 1, column 1"},
      {"{\"a\": 1}\n\0"s, "line 2, column 1"},
  };
  for (const auto& [text, place] : cases) {
    CAPTURE(text);
    const q2l::Error error = json_error(text);
    CHECK(error.code() == ErrorCode::bad_json);
    CHECK(error.place().subject == place);
    CHECK(error.place().path == "config.json");
  }
}

TEST_CASE("Text that is not UTF-8 is a matter of encoding", "[weights][json][S5]") {
  for (const std::string text :
       {"{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}"})
    CHECK(json_error(text).code() == ErrorCode::bad_encoding);
  CHECK(json_error("{\"a\":\"\xff\"}").place().offset == 6u);
  CHECK(json_error("{\n\"a\":\"\xff\"}").place().subject == "line 2, column 6");
}

TEST_CASE("Depth, size and number of values are bounded without recursion",
          "[weights][json][J3][S16]") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(parse_json(nested(64), "x")->is_array());
  const q2l::Error error = json_error(nested(500'000));
  CHECK(error.code() == ErrorCode::limit_exceeded);
  CHECK(error.place().offset == 64u);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(json_error(objects).code() == ErrorCode::limit_exceeded);
  CHECK(json_error("[1,2,3]", {.json_values = 3}).code() == ErrorCode::limit_exceeded);
  CHECK(parse_json("[1,2,3]", "x", {.json_values = 4})->size() == 3);
  CHECK(json_error("[1,2,3]", {.json_bytes = 6}).code() == ErrorCode::limit_exceeded);
}

TEST_CASE("A name that appears twice is refused, however it is spelt", "[weights][json][J4]") {
  for (const std::string text :
       {"{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":1}", "{\"x\":{\"a\":{},\"b\":[],\"a\":0}}"}) {
    const q2l::Error error = json_error(text);
    CHECK(error.code() == ErrorCode::duplicate_name);
    CHECK(error.detail().find("'a'") != std::string::npos);
  }
  CHECK(parse_json("{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "x")->size() == 2);
}

TEST_CASE("Members are handed over one at a time", "[weights][json]") {
  std::string seen;
  const q2l::JsonBounds bounds{1000, 3, 4};
  const auto note = [&](std::string&& name, const nlohmann::json& value) {
    seen += name + "=" + value.dump() + ";";
  };
  q2l::for_each_json_member("{\"a\":1,\"b\":[1,{\"c\":2}],\"a\":{}}", bounds, 8, note);
  CHECK(seen == "a=1;b=[1,{\"c\":2}];a={};");
  const auto error = [&](const std::string& text) {
    return error_of([&] { q2l::for_each_json_member(text, bounds, 8, note); });
  };
  CHECK(error("[]").code() == ErrorCode::bad_json);
  CHECK(error("{\"a\":[1,2,3,4]}").code() == ErrorCode::limit_exceeded);
  CHECK(error("{\"a\":?}").place().offset == 8 + 5u);
}

TEST_CASE("Quoted text reads back as it was", "[weights][json]") {
  for (const std::string text : {"", "plain", "\"\\\n\t\x01", "caf\xc3\xa9"})
    CHECK(*parse_json(q2l::json_quoted(text), "x") == text);
  CHECK(error_of([] { (void)q2l::json_quoted("\xff"); }).code() == ErrorCode::bad_encoding);
}
