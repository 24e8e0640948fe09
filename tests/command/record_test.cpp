// SPDX-License-Identifier: MIT
#include "q2l/record.hpp"

#include <catch2/catch.hpp>
#include <charconv>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "q2l/escape.hpp"

using namespace q2l::command;
using q2l::LabelSet;

namespace {

const LabelSet record_labels({"cat", "hot dog", "say \"hi\"", "a,b"});
const std::vector<float> record_scores = {0.9f, 0.1f, 0.75f, 0.625f};

Record record(const std::string& path) {
  return {path,
          640,
          480,
          {{"cat", 0.9f, 0}, {"say \"hi\"", 0.75f, 2}, {"a,b", 0.625f, 3}},
          record_scores};
}

}  // namespace

TEST_CASE("Floats are printed so that they read back to the same bits", "[command]") {
  for (const float value : {0.0f, 1.0f, 0.1f, 0.9f, 1e-7f, 0.33333334f, 0.99999994f, 5.9604645e-08f,
                            std::numeric_limits<float>::denorm_min()}) {
    const std::string text = shortest(value);
    CAPTURE(text);
    float back = -1;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), back);
    CHECK(read.ptr == text.data() + text.size());
    CHECK(std::memcmp(&back, &value, sizeof value) == 0);
    CHECK(nlohmann::json::parse(text).get<float>() == value);
  }
  CHECK(shortest(0.1f) == "0.1");
}

TEST_CASE("Any bytes survive the escapes of a line and of hexadecimal", "[command]") {
  std::string bytes = "plain, \"quoted\" \\ \\n \\x41 \n\r\t\x7F\x1B ä 猫 \xFF\xFE\xC3";
  bytes += '\0';
  const std::string line = escape_line(bytes);
  CHECK(line.find_first_of(std::string("\n\r\0", 3)) == std::string::npos);
  CHECK(q2l::find_invalid_utf8(line) == std::string::npos);
  CHECK(unescape_line(line) == bytes);
  CHECK(from_hex(hex(bytes)) == bytes);
  CHECK(escape_line("ä 猫 a.jpg") == "ä 猫 a.jpg");
}

TEST_CASE("What the escapes did not write is not undone", "[command]") {
  for (const char* broken : {"\\", "a\\", "\\q", "\\x", "\\x4", "\\xg0"})
    CHECK_FALSE(unescape_line(broken).has_value());
  for (const char* broken : {"4", "4g", "AB"}) CHECK_FALSE(from_hex(broken).has_value());
}

TEST_CASE("A jsonl record has the promised shape", "[command]") {
  const RecordLines lines(Format::jsonl, record_labels, false);
  CHECK(lines.heading().empty());
  CHECK(lines.result(record("a.jpg")) ==
        R"({"path":"a.jpg","width":640,"height":480,"tags":[{"label":"cat","score":0.9},)"
        R"({"label":"say \"hi\"","score":0.75},{"label":"a,b","score":0.625}]})"
        "\n");
  Record none = record("b.jpg");
  none.tags.clear();
  CHECK(lines.result(none) == "{\"path\":\"b.jpg\",\"width\":640,\"height\":480,\"tags\":[]}\n");
}

TEST_CASE("With all scores a jsonl record lists every label in the model's order", "[command]") {
  const auto json = nlohmann::json::parse(
      RecordLines(Format::jsonl, record_labels, true).result(record("a.jpg")));
  REQUIRE(json["scores"].size() == 4);
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(json["scores"][k]["label"] == record_labels[k]);
    CHECK(json["scores"][k]["score"].get<float>() == record_scores[k]);
  }
  CHECK(json["tags"].size() == 3);
}

TEST_CASE("A jsonl line is valid whatever the path holds, and keeps its bytes", "[command]") {
  const std::string path = "od\xFF\"d\n\\name\x01.jpg";
  const RecordLines lines(Format::jsonl, record_labels, false);
  for (const std::string& line :
       {lines.result(record(path)), lines.failure(path, {q2l::ErrorCode::io, "gone"})}) {
    CHECK(line.find('\n') == line.size() - 1);
    CHECK(q2l::find_invalid_utf8(line) == std::string::npos);
    const auto json = nlohmann::json::parse(line);
    CHECK(from_hex(json["path_bytes"].get<std::string>()) == path);
    CHECK(json["path"] == "od\xEF\xBF\xBD\"d\n\\name\x01.jpg");
  }
}

TEST_CASE("A failure is a record with code and message, without the path in the message",
          "[command]") {
  const q2l::Error error(q2l::ErrorCode::image_truncated, "the picture is cut off",
                         {.path = "a.jpg", .offset = 7, .expected = "9 bytes", .actual = "2"});
  const auto json = nlohmann::json::parse(
      RecordLines(Format::jsonl, record_labels, true).failure("a.jpg", error));
  CHECK(json["path"] == "a.jpg");
  CHECK(json["error"]["code"] == "ImageTruncated");
  CHECK(json["error"]["message"] == "the picture is cut off; expected 9 bytes, got 2 (byte 7)");
  CHECK_FALSE(json.contains("tags"));
  CHECK(RecordLines(Format::text, record_labels, false).failure("a.jpg", error).empty());
}

TEST_CASE("CSV has one line and the same columns for every picture", "[command]") {
  const RecordLines few(Format::csv, record_labels, false);
  CHECK(few.heading() == "path,width,height,tags,scores,error\n");
  CHECK(few.result(record("a,b\n.jpg")) ==
        "\"a,b\\n.jpg\",640,480,\"cat;say \"\"hi\"\";a,b\",0.9;0.75;0.625,\n");
  CHECK(few.failure("x.jpg", {q2l::ErrorCode::io, "no, gone"}) == "x.jpg,,,,,\"Io: no, gone\"\n");

  const RecordLines all(Format::csv, record_labels, true);
  CHECK(all.heading() ==
        "path,width,height,tags,scores,error,cat,hot dog,\"say \"\"hi\"\"\",\"a,b\"\n");
  Record none = record("b.jpg");
  none.tags.clear();
  CHECK(all.result(none) == "b.jpg,640,480,,,,0.9,0.1,0.75,0.625\n");
  CHECK(all.failure("x.jpg", {q2l::ErrorCode::io, "gone"}) == "x.jpg,,,,,Io: gone,,,,\n");
}

TEST_CASE("Text is one line a picture, for people", "[command]") {
  CHECK(RecordLines(Format::text, record_labels, false).result(record("a\n.jpg")) ==
        "a\\n.jpg: cat 0.900, say \"hi\" 0.750, a,b 0.625\n");
  CHECK(RecordLines(Format::text, record_labels, true).result(record("a.jpg")) ==
        "a.jpg: cat 0.900, hot dog 0.100, say \"hi\" 0.750, a,b 0.625\n");
  Record none = record("a.jpg");
  none.tags.clear();
  CHECK(RecordLines(Format::text, record_labels, false).result(none) ==
        "a.jpg: (no label reaches its threshold)\n");
}
