// SPDX-License-Identifier: MIT
#include "query2label/weights/zip_archive.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/check.hpp"
#include "fuzz/rebuilt_zip.hpp"

namespace {

void check_archive(const q2l::ZipArchive& archive, std::span<const std::byte> file) {
  using namespace q2l::fuzz;
  std::vector<q2l::ZipEntry> by_place(archive.entries().begin(), archive.entries().end());
  for (const q2l::ZipEntry& entry : by_place) {
    check_inside(entry.data, file);
    const q2l::ZipEntry* const found = archive.find(entry.name);
    check(found != nullptr && found->file_offset == entry.file_offset,
          "an entry is found by its name");
    accepts(file.size(), "", [&] {
      const auto contents = q2l::ZipArchive::contents(entry);
      check(contents.data() == entry.data.data() && contents.size() == entry.data.size(),
            "the contents of an entry are its data");
    });
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const auto& a, const auto& b) { return a.file_offset < b.file_offset; });
  std::uint64_t end = 0;
  for (const q2l::ZipEntry& entry : by_place) {
    check(entry.file_offset > end, "entries share no bytes");
    end = entry.file_offset + entry.data.size();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  const auto file = bytes_of(data, size);
  accepts(size, "", [&] {
    const q2l::ZipArchive archive(file);
    check_archive(archive, file);
    const std::string again = rebuilt_zip(archive);
    const q2l::ZipArchive same(q2l::test::bytes(again));
    check(std::ranges::equal(archive.entries(), same.entries(),
                             [](const q2l::ZipEntry& a, const q2l::ZipEntry& b) {
                               return a.name == b.name && std::ranges::equal(a.data, b.data);
                             }),
          "an archive that is written again reads the same");
  });
  return 0;
}
