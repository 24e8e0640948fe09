// SPDX-License-Identifier: MIT
#include "q2l/escape.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "q2l/record.hpp"
#include "query2label/labels/label_file.hpp"

using namespace q2l::command;

TEST_CASE("No character that misleads a reader passes a line's escapes, and all come back",
          "[command]") {
  CHECK(escape_line("a\u0085b") == "a\\xc2\\x85b");                 // a C1 control: next line
  CHECK(escape_line("\u202Egpj.exe") == "\\xe2\\x80\\xaegpj.exe");  // right-to-left override
  CHECK(escape_line("\u2028\u2066\u061C") == "\\xe2\\x80\\xa8\\xe2\\x81\\xa6\\xd8\\x9c");
  CHECK(escape_line("\t\x7F") == "\\x09\\x7f");
  CHECK(escape_line("ä 猫 שלום") == "ä 猫 שלום");
  for (const std::string text : {"a\u0085b", "\u202Egpj.exe", "\u2028\u2066\u061C\u200F",
                                 "\\x85\u0085\xC2", "\xE2\x80 \xAE"})
    CHECK(unescape_line(escape_line(text)) == text);
}

TEST_CASE("The tags of a CSV line come apart again whatever the labels hold", "[command]") {
  const std::vector<std::string> names = {"a;b", "a\\x3bb", "c,\"d\"", ";", "e"};
  const q2l::LabelSet labels(names);
  const std::vector<float> scores(names.size(), 0.5f);
  Record record{"x;y.jpg", 2, 1, {}, scores};
  for (std::size_t k = 0; k < names.size(); ++k) record.tags.push_back({names[k], scores[k], k});
  const std::string line = RecordLines(Format::csv, labels, false).result(record);
  const std::vector<std::string> fields =
      q2l::detail::split_csv(std::string_view(line).substr(0, line.size() - 1), {});
  CHECK(fields.at(0) == "x;y.jpg");
  CHECK(fields.at(3) == "a\\x3bb;a\\\\x3bb;c,\"d\";\\x3b;e");
  std::vector<std::string> read;
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = fields[3].find(';', begin);
    read.push_back(unescape_line(fields[3].substr(begin, end - begin)).value());
  }
  CHECK(read == names);
}
