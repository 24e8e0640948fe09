// SPDX-License-Identifier: MIT
// Feeds every file in the folders given to every fuzz target; a target that breaks ends the
// program, and one that accepts no file fails it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz/check.hpp"

namespace {

struct Format {
  const char* name;
  int (*feed)(const std::uint8_t* data, std::size_t size);
};

}  // namespace

#include "formats.hpp"  // generated: the targets as feed_NAME, and `formats`

int main(int count, char** folders) {
  constexpr std::uintmax_t longest = 65536;  // as fuzzers are told
  std::vector<std::size_t> accepted(std::size(formats));
  for (int i = 1; i < count; ++i)
    for (const auto& entry : std::filesystem::directory_iterator(folders[i])) {
      if (entry.file_size() > longest) continue;
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::vector<char> content(std::istreambuf_iterator<char>(stream), {});
      const auto* const data = reinterpret_cast<const std::uint8_t*>(content.data());
      for (std::size_t f = 0; f < accepted.size(); ++f) {
        std::printf("%s: %s\n", formats[f].name, entry.path().c_str());
        std::fflush(stdout);
        const std::size_t before = q2l::fuzz::accepted_inputs;
        formats[f].feed(data, content.size());
        accepted[f] += q2l::fuzz::accepted_inputs - before;
      }
    }
  int status = 0;
  for (std::size_t f = 0; f < accepted.size(); ++f) {
    if (accepted[f] > 0) continue;
    std::printf("%s accepted none of the files\n", formats[f].name);
    status = 1;
  }
  return status;
}
