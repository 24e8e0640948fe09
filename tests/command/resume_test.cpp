// SPDX-License-Identifier: MIT
#include "q2l/resume.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"

using namespace q2l::command;
using q2l::test::content_of;
using q2l::test::TemporaryFolder;

namespace {

const q2l::LabelSet resume_labels({"cat", "dog"});

RecordLines lines_of(Format format) { return {format, resume_labels, true}; }

std::vector<std::string> paths() {
  return {"a.jpg", "odd\xFF\n\"name\", \\.jpg", "dir/猫.png", "=1+1.bmp"};
}

/// What a run over `paths` writes; every third picture fails.
std::string complete_output(const RecordLines& lines) {
  const std::vector<float> scores = {0.25f, 0.5f};
  std::string text = lines.heading();
  for (std::size_t i = 0; i < paths().size(); ++i)
    text += i % 3 == 2 ? lines.failure(paths()[i], {q2l::ErrorCode::bad_image, "broken"})
                       : lines.result({paths()[i], 3, 4, {{"dog", 0.5f, 1}}, scores});
  return text;
}

template <class Call>
Failure failure_of(Call&& call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure;
  }
  throw std::logic_error("expected a Failure, but nothing was thrown");
}

}  // namespace

TEST_CASE("A run cut at any byte is repaired to whole lines and knows what is done", "[command]") {
  const auto format = GENERATE(Format::jsonl, Format::csv);
  const TemporaryFolder folder;
  const RecordLines lines = lines_of(format);
  const std::string complete = complete_output(lines);
  for (std::size_t cut = 0; cut <= complete.size(); ++cut) {
    const std::string left = complete.substr(0, cut);
    const std::string whole = left.substr(0, left.find_last_of('\n') + 1);  // npos + 1 == 0
    const auto file = folder.write("out", left);
    ResultOutput output(file, true);
    const FinishedWork work = resume_work(output, lines, true);
    INFO("cut at " << cut);
    REQUIRE(content_of(file) == whole);
    REQUIRE(work.torn_bytes == left.size() - whole.size());
    REQUIRE(work.foreign_lines == 0);
    const auto line_count = static_cast<std::size_t>(std::count(whole.begin(), whole.end(), '\n'));
    const std::size_t headings = format == Format::csv && line_count > 0 ? 1 : 0;
    REQUIRE(work.heading == (headings == 1));
    const std::vector<std::string> all = paths();
    const std::set<std::string> expected(
        all.begin(), all.begin() + static_cast<std::ptrdiff_t>(line_count - headings));
    REQUIRE(std::set<std::string>(work.paths.begin(), work.paths.end()) == expected);
    std::filesystem::remove(file);
  }
}

TEST_CASE("Lines that are no records are counted and stay", "[command]") {
  const TemporaryFolder folder;
  const std::string text =
      std::string("{\"path\":\"a.jpg\",\"tags\":[]}\nnot json\n{\"path\":7,\"tags\":[]}\n") +
      std::string(9, '\0') + "\n{\"path\":\"x\"}\n[]\n{\"path\":\"b.jpg\",\"error\":{}}\n" +
      "{\"path\":\"c\",\"path_bytes\":\"6\",\"tags\":[]}\n\n";
  const auto file = folder.write("out.jsonl", text);
  ResultOutput output(file, true);
  const FinishedWork work = resume_work(output, lines_of(Format::jsonl), false);
  CHECK(work.paths == std::unordered_multiset<std::string>{"a.jpg", "b.jpg"});
  CHECK(work.foreign_lines == 7);
  CHECK(work.first_foreign_line == 2);
  CHECK(content_of(file) == text);
}

TEST_CASE("A CSV with other columns cannot be resumed and is left alone", "[command]") {
  const TemporaryFolder folder;
  const std::string text = "path,width,height,tags,scores,error\na.jpg,1,1,,,\n";
  const auto file = folder.write("out.csv", text);
  ResultOutput output(file, true);
  const Failure failure = failure_of([&] { resume_work(output, lines_of(Format::csv), true); });
  CHECK(failure.code() == ExitCode::usage);
  CHECK(content_of(file) == text);
}

TEST_CASE("A file that holds no results is not resumed, and is left alone", "[command]") {
  const auto format = GENERATE(Format::jsonl, Format::csv);
  const TemporaryFolder folder;
  for (const char* text : {"my notes", "my notes\nand more\n", "\n"}) {
    const auto file = folder.write("notes", text);
    ResultOutput output(file, true);
    CHECK(failure_of([&] { resume_work(output, lines_of(format), false); }).code() ==
          ExitCode::usage);
    CHECK(content_of(file) == text);
  }
}

TEST_CASE("A file with results is not written to without resume", "[command]") {
  const TemporaryFolder folder;
  const auto file = folder.write("out", "done\n");
  const Failure failure = failure_of([&] { ResultOutput(file, false); });
  CHECK(failure.code() == ExitCode::usage);
  CHECK(std::string(failure.what()).find("--resume") != std::string::npos);
  CHECK(content_of(file) == "done\n");
  CHECK_NOTHROW(ResultOutput(folder.write("empty", ""), false));
  CHECK_NOTHROW(ResultOutput(folder / "new", true));
}

TEST_CASE("A second run on the same output is refused until the first has ended", "[command]") {
  const TemporaryFolder folder;
  {
    ResultOutput first(folder / "out", false);
    CHECK(failure_of([&] { ResultOutput(folder / "out", true); }).code() == ExitCode::output);
  }
  CHECK_NOTHROW(ResultOutput(folder / "out", true));
}

TEST_CASE("Lines are added behind what was there", "[command]") {
  const TemporaryFolder folder;
  const auto file = folder.write("out", "one\ntor");
  ResultOutput output(file, true);
  output.cut_to(4);
  output.write("two\n");
  output.write("");
  output.finish();
  CHECK(content_of(file) == "one\ntwo\n");
}

TEST_CASE("A full disk is an output failure that names the file and the reason", "[command]") {
  ResultOutput output("/dev/full", false);
  const Failure failure = failure_of([&] { output.write("line\n"); });
  CHECK(failure.code() == ExitCode::output);
  CHECK(std::string(failure.what()) == "/dev/full: cannot write: No space left on device");
}

TEST_CASE("Outputs that cannot be opened are refused", "[command]") {
  const TemporaryFolder folder;
  CHECK(failure_of([&] { ResultOutput(folder.path(), false); }).code() == ExitCode::usage);
  CHECK(failure_of([&] { ResultOutput(folder / "none/out", false); }).code() == ExitCode::output);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(failure_of([&] { ResultOutput(folder / "pipe", false); }).code() == ExitCode::usage);
}
