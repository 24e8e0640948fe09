// SPDX-License-Identifier: MIT
#include "query2label/labels/label_file.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/allocation_watch.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using namespace std::string_view_literals;
using q2l::Error;
using q2l::ErrorCode;
using q2l::LabelSet;
using q2l::test::error_of;

namespace {

using Names = std::vector<std::string>;

Error text_error(std::string_view text) {
  return error_of([&] { (void)q2l::parse_label_text(text); });
}

Error csv_error(std::string_view text) {
  return error_of([&] { (void)q2l::parse_label_csv(text); });
}

}  // namespace

TEST_CASE("Line ends, byte order mark and blank lines at the end do not change the labels",
          "[labels]") {
  const auto text =
      GENERATE("cat\nhot dog\nbear\n"sv, "cat\nhot dog\nbear"sv, "cat\r\nhot dog\r\nbear\r\n"sv,
               "\xEF\xBB\xBF"
               "cat\nhot dog\nbear\n"sv,
               "cat\nhot dog\nbear\n\n\r\n  \n"sv, "cat\r\nhot dog\nbear \t\r\n"sv);
  CAPTURE(text);
  if (text.find("bear ") == std::string_view::npos)
    CHECK(q2l::parse_label_text(text).names() == Names{"cat", "hot dog", "bear"});
  else
    CHECK(text_error(text).code() == ErrorCode::bad_encoding);  // a tab within the last label
}

TEST_CASE("Labels of any script and with any punctuation are kept as they are", "[labels]") {
  const Names names = {"chat", "猫",  "собака", "=_=",        "+_+", "@_@",
                       "-",    ">:(", "|_|",    "\"quoted\"", "a,b"};
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  CHECK(q2l::parse_label_text(text).names() == names);
}

TEST_CASE("Blank lines in between and repeated labels are refused with their line", "[labels]") {
  CHECK(text_error("cat\n\ndog\n").code() == ErrorCode::bad_labels);
  CHECK(text_error("cat\n\ndog\n").place().subject == "line 2");
  CHECK(text_error("cat\ndog\n   \nbear").place().subject == "line 3");
  CHECK(text_error("\ncat").place().subject == "line 1");
  const Error repeated = text_error("cat\ndog\nbear\ndog\n");
  CHECK(repeated.code() == ErrorCode::duplicate_name);
  CHECK(repeated.place().subject == "line 4");
  CHECK(repeated.detail() == "the label 'dog' already stands at line 2");
}

TEST_CASE("Bytes that are not text are refused with line and column", "[labels]") {
  struct Case {
    std::string_view text, place;
    std::uint64_t offset;
  };
  const auto bad = GENERATE(values<Case>({
      {"cat\n\xC3\xA9\xE9\n", "line 2, column 3", 6},      // Latin-1 behind UTF-8
      {"\xD6\xD0\n", "line 1, column 1", 0},               // GBK
      {"cat\ndo\0g\n"sv, "line 2, column 3", 6},           // NUL
      {"cat\nd\xE2\x80\xA8g\n", "line 2, column 2", 5},    // U+2028
      {"cat\n\xC0\xAF\n", "line 2, column 1", 4},          // overlong slash
      {"cat\n\xED\xA0\x80\n", "line 2, column 1", 4},      // surrogate
      {"cat\n\xF4\x90\x80\x80\n", "line 2, column 1", 4},  // above U+10FFFF
      {"cat\nd\xE2\x80", "line 2, column 2", 5},           // cut character
      {"cat\rdog\rbear", "line 1, column 4", 3},           // bare carriage returns
      {"\xEF\xBB\xBF"
       "\x1B[31mcat\n",
       "line 1, column 1", 3},  // terminal escape
      {"\xFF\xFE"
       "c\0a\0t\0"sv,
       "line 1, column 1", 0},  // UTF-16
  }));
  const Error error = text_error(bad.text);
  CHECK(error.code() == ErrorCode::bad_encoding);
  CHECK(error.place().subject == bad.place);
  CHECK(error.place().offset == bad.offset);
}

TEST_CASE("A file without labels is refused", "[labels]") {
  for (const auto text : {""sv, "\n\n"sv, "\xEF\xBB\xBF"sv, "   "sv}) {
    CHECK(text_error(text).code() == ErrorCode::bad_labels);
    CHECK(text_error(text).detail() == "no labels in the file");
  }
  CHECK(csv_error("id,name\n").detail() == "no labels in the file");
}

TEST_CASE("Label files beyond the limits are refused", "[labels]") {
  const q2l::Limits limits{.label_file_bytes = 12, .labels = 3};
  CHECK(q2l::parse_label_text("a\nb\nc\n", limits).size() == 3);
  const auto code = [&](std::string_view text) {
    return error_of([&] { (void)q2l::parse_label_text(text, limits); }).code();
  };
  CHECK(code("a\nb\nc\nd\n") == ErrorCode::limit_exceeded);
  CHECK(code("abcdefghijklm") == ErrorCode::limit_exceeded);
}

TEST_CASE("CSV labels are read with and without a heading", "[labels]") {
  const Names expected = {"cat", "dog, hot", "say \"hi\""};
  CHECK(q2l::parse_label_csv("id,name\r\n0,cat\r\n1,\"dog, hot\"\r\n2,\"say \"\"hi\"\"\"\r\n")
            .names() == expected);
  CHECK(q2l::parse_label_csv("0,cat\n1,\"dog, hot\"\n\"2\",\"say \"\"hi\"\"\"").names() ==
        expected);
}

TEST_CASE("CSV ids must count up from 0", "[labels]") {
  struct Case {
    std::string_view text, place, actual;
  };
  const auto bad = GENERATE(values<Case>({
      {"id,name\n1,cat\n2,dog\n", "line 2", "1"},  // does not begin at 0
      {"0,cat\n2,dog\n", "line 2", "2"},           // hole
      {"0,cat\n0,dog\n", "line 2", "0"},           // repeated
      {"0,cat\n-1,dog\n", "line 2", "-1"},
      {"id,name\nnumber,label\n0,cat\n", "line 2", "number"},
  }));
  const Error error = csv_error(bad.text);
  CHECK(error.code() == ErrorCode::bad_labels);
  CHECK(error.place().subject == bad.place);
  CHECK(error.place().actual == bad.actual);
}

TEST_CASE("Broken CSV is refused with the line of the opening quote", "[labels]") {
  CHECK(csv_error("0,cat\n1,\"dog\n2,bear\n").place().subject == "line 2");
  CHECK(csv_error("0,cat\n1,\"dog\"x\n").detail() == "a quote without its partner");
  CHECK(csv_error("0,cat\n1\n").place().actual == "1 field");
  CHECK(csv_error("0,cat,animal\n").code() == ErrorCode::bad_labels);
  const Error repeated = csv_error("id,name\n0,cat\n1,cat\n");
  CHECK(repeated.code() == ErrorCode::duplicate_name);
  CHECK(repeated.place().subject == "line 3");
}

TEST_CASE("A line of many fields costs little memory", "[labels][hostile]") {
  const std::string commas(1u << 20, ',');
  const q2l::test::AllocationWatch watch;
  const Error error = csv_error(commas);
  CHECK(watch.total() < 64u << 10);
  CHECK(error.code() == ErrorCode::bad_labels);
  CHECK(error.place().actual == "more fields");
}

TEST_CASE("A label file is read by its name and its errors name it", "[labels]") {
  const q2l::test::TemporaryFolder folder;
  CHECK(q2l::read_label_file(folder.write("a.txt", "0,cat\n")).names() == Names{"0,cat"});
  CHECK(q2l::read_label_file(folder.write("a.csv", "0,cat\n")).names() == Names{"cat"});
  CHECK(q2l::read_label_file(folder.write("A.CSV", "0,cat\n")).names() == Names{"cat"});
  const auto broken = folder.write("broken.txt", "cat\ncat\n");
  const Error error = error_of([&] { (void)q2l::read_label_file(broken); });
  CHECK(error.code() == ErrorCode::duplicate_name);
  CHECK(error.place().path == broken.string());
  CHECK(error_of([&] { (void)q2l::read_label_file(folder.write("empty.txt", "")); }).code() ==
        ErrorCode::bad_labels);
  CHECK(error_of([&] { (void)q2l::read_label_file(folder / "none.txt"); }).code() == ErrorCode::io);
  CHECK(error_of([&] { (void)q2l::read_label_file(folder.path()); }).code() ==
        ErrorCode::not_regular_file);
}
