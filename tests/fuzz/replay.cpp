// SPDX-License-Identifier: MIT
// Feeds every file in the folders given to every fuzz target; a target that breaks ends the
// program.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace {

struct Format {
  const char* name;
  int (*feed)(const std::uint8_t* data, std::size_t size);
};

}  // namespace

#include "formats.hpp"  // generated: the targets as feed_NAME, and `formats`

int main(int count, char** folders) {
  constexpr std::uintmax_t longest = 65536;  // as fuzzers are told
  std::size_t files = 0;
  for (int i = 1; i < count; ++i)
    for (const auto& entry : std::filesystem::directory_iterator(folders[i])) {
      if (entry.file_size() > longest) continue;
      ++files;
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::vector<char> content(std::istreambuf_iterator<char>(stream), {});
      const auto* const data = reinterpret_cast<const std::uint8_t*>(content.data());
      for (const Format& format : formats) {
        std::printf("%s: %s\n", format.name, entry.path().c_str());
        std::fflush(stdout);
        format.feed(data, content.size());
      }
    }
  return files == 0 ? 1 : 0;
}
