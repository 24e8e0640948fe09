// SPDX-License-Identifier: MIT
// Runs the program as users do. Q2L_COMMAND is its path; a build without the tools has none.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_folder.hpp"

namespace q2l::test::program {

using Arguments = std::vector<std::string>;

inline const std::string tiny_model = std::string(Q2L_TESTS_DIR) + "/weights/data/resnet_basic.pkl";
inline const std::string demo_pictures = std::string(Q2L_EXAMPLES_DIR) + "/data";

/// Starts a program with the given files as its standard streams; those of -1 are closed.
inline pid_t start(const Arguments& arguments, int in, int out, int err,
                   const std::string& program = Q2L_COMMAND) {
  std::vector<char*> words = {const_cast<char*>("q2l")};
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    for (const auto& [file, stream] : {std::pair{in, 0}, {out, 1}, {err, 2}}) {
      if (file < 0) {
        ::close(stream);
      } else {
        ::dup2(file, stream);
      }
    }
    ::execv(program.c_str(), words.data());
    ::_exit(127);
  }
  REQUIRE(child > 0);
  return child;
}

/// The exit status, or the signal that ended it as a negative number.
inline int status_of(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct Result {
  int status;
  std::string out, err;
};

inline Result run(const Arguments& arguments, const std::string& input = "",
                  const std::string& program = Q2L_COMMAND) {
  const TemporaryFolder folder;
  const int in = ::open(folder.write("in", input).c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(folder.write("out", "").c_str(), O_WRONLY | O_CLOEXEC);
  const int err = ::open(folder.write("err", "").c_str(), O_WRONLY | O_CLOEXEC);
  const int status = status_of(start(arguments, in, out, err, program));
  for (const int stream : {in, out, err}) ::close(stream);
  return {status, content_of(folder / "out"), content_of(folder / "err")};
}

/// Tags with the tiny model.
inline Result tag(Arguments arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), {"tag", "--model", tiny_model, "--threads", "1"});
  return run(arguments, input);
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1)
    lines.push_back(text.substr(begin, end - begin));
  return lines;
}

inline std::vector<nlohmann::json> records_of(const std::string& text) {
  std::vector<nlohmann::json> records;
  for (const std::string& line : lines_of(text)) records.push_back(nlohmann::json::parse(line));
  return records;
}

inline std::ptrdiff_t lines_in(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace q2l::test::program
