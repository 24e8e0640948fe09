// SPDX-License-Identifier: MIT
// Numbers are the same in every locale. Where none with a decimal comma is installed, that is told.
#include <stdlib.h>

#include <array>
#include <catch2/catch.hpp>
#include <clocale>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/record.hpp"
#include "query2label/core/fixed_decimals.hpp"

#ifdef Q2L_COMMAND
#include "command/program.hpp"
#endif

namespace {

/// A locale whose decimals have a comma, for this process and those that it starts; the one before
/// comes back at the end.
class CommaLocale {
 public:
  CommaLocale() : before_(std::setlocale(LC_ALL, nullptr)) {
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8",
                             "es_ES.UTF-8", "it_IT.UTF-8", "pt_BR.UTF-8", "ru_RU.UTF-8"}) {
      if (std::setlocale(LC_ALL, name) == nullptr) continue;
      if (std::string(std::localeconv()->decimal_point) != ",") continue;
      name_ = name;
      break;
    }
    if (name_.empty()) {
      std::setlocale(LC_ALL, before_.c_str());
      WARN("no locale with a decimal comma is installed: nothing is checked");
      return;
    }
    for (std::size_t i = 0; i < variables.size(); ++i) {
      if (const char* value = ::getenv(variables[i])) values_[i] = value;
      ::setenv(variables[i], name_.c_str(), 1);
    }
  }
  CommaLocale(const CommaLocale&) = delete;
  CommaLocale& operator=(const CommaLocale&) = delete;
  ~CommaLocale() {
    if (name_.empty()) return;
    std::setlocale(LC_ALL, before_.c_str());
    for (std::size_t i = 0; i < variables.size(); ++i) {
      if (values_[i])
        ::setenv(variables[i], values_[i]->c_str(), 1);
      else
        ::unsetenv(variables[i]);
    }
  }
  [[nodiscard]] bool is_installed() const { return !name_.empty(); }

 private:
  static constexpr std::array variables = {"LC_ALL", "LC_NUMERIC", "LANG"};
  std::string before_, name_;
  std::array<std::optional<std::string>, variables.size()> values_;
};

}  // namespace

TEST_CASE("Numbers have points whatever the locale", "[command]") {
  const CommaLocale locale;
  if (!locale.is_installed()) return;
  using namespace q2l::command;
  CHECK(shortest(0.625f) == "0.625");
  CHECK(q2l::fixed_decimals(1234.5, 2) == "1234.50");
  const std::vector<float> scores = {0.75f, 0.5f};
  const Record record{"a.jpg", 1024, 768, {{"cat", 0.75f, 0}}, scores};
  const q2l::LabelSet labels({"cat", "dog"});
  CHECK(RecordLines(Format::text, labels, true).result(record) == "a.jpg: cat 0.750, dog 0.500\n");
  CHECK(RecordLines(Format::csv, labels, true).result(record) ==
        "a.jpg,1024,768,cat,0.75,,0.75,0.5\n");
  CHECK(RecordLines(Format::jsonl, labels, false).result(record) ==
        "{\"path\":\"a.jpg\",\"width\":1024,\"height\":768,"
        "\"tags\":[{\"label\":\"cat\",\"score\":0.75}]}\n");
}

#ifdef Q2L_COMMAND

TEST_CASE("The program reads and prints numbers with points whatever the locale", "[command]") {
  namespace program = q2l::test::program;
  const std::string picture = program::demo_pictures + "/scene1.jpg";
  std::vector<program::Arguments> commands = {
      {"info", program::tiny_model},
      {"tag", "--model", program::tiny_model, picture, "--threshold", "0,85"}};
  for (const char* format : {"text", "jsonl", "csv"})
    commands.push_back({"tag", "--model", program::tiny_model, "--threads", "1", "--threshold",
                        "0.85", "--scores", "all", "--format", format, picture});
  std::vector<program::Result> expected;
  for (const auto& command : commands) expected.push_back(program::run(command));
  CHECK(expected[1].status == 2);
  CHECK(expected[2].status == 0);
  const CommaLocale locale;
  if (!locale.is_installed()) return;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const program::Result result = program::run(commands[i]);
    CHECK(result.status == expected[i].status);
    CHECK(result.out == expected[i].out);
    CHECK(result.err == expected[i].err);
  }
}

#endif  // Q2L_COMMAND
