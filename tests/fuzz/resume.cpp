// SPDX-License-Identifier: MIT
// What an interrupted run of `q2l tag --output` left behind.
#include "q2l/resume.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "fuzz/check.hpp"
#include "fuzz/memory_file.hpp"

namespace {

void resume(const std::string& left, q2l::command::Format format) {
  using namespace q2l::command;
  using q2l::fuzz::check;
  static q2l::fuzz::MemoryFile file;
  file.write(left);
  const RecordLines lines(format, q2l::LabelSet({"cat", "dog"}), true);
  ResultOutput output(file.path(), true);
  const FinishedWork work = resume_work(output, lines, true);
  const std::string whole = left.substr(0, left.rfind('\n') + 1);  // npos + 1 == 0
  q2l::fuzz::accepted_inputs += work.paths.empty() ? 0 : 1;
  check(work.torn_bytes == left.size() - whole.size(), "what is torn is the last line");
  check(file.read(left.size()) == whole, "whole lines stay as they are");
  const auto line_count = static_cast<std::size_t>(std::count(whole.begin(), whole.end(), '\n'));
  check(work.paths.size() + work.foreign_lines + (work.heading ? 1 : 0) <= line_count,
        "a line is a record, foreign or the heading");
  check((work.foreign_lines > 0) == (work.first_foreign_line > 0) &&
            work.first_foreign_line <= line_count,
        "foreign lines are lines of the file");
  const FinishedWork again = resume_work(output, lines, true);
  check(again.torn_bytes == 0 && again.paths == work.paths &&
            again.foreign_lines == work.foreign_lines,
        "a repaired file is whole and says the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using q2l::command::Format;
  const std::string text(q2l::fuzz::text_of(data, size));
  resume(text, Format::jsonl);
  resume("path,width,height,tags,scores,error,cat,dog\n" + text, Format::csv);
  return 0;
}
