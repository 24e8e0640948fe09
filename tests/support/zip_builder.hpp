// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "query2label/core/crc32.hpp"
#include "support/byte_strings.hpp"

namespace q2l::test {

/// The fields of an entry's header, its own or the directory's.
struct ZipFields {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc = 0;
  std::uint32_t stored_size = 0;
  std::uint32_t size = 0;
  std::string extra;
  // The directory's only:
  std::uint16_t made_by = 0;
  std::uint16_t disk = 0;
  std::uint32_t attributes = 0;
  std::uint32_t local_offset = 0;
};

/// An entry. `tweak` may falsify either header.
struct ZipMember {
  std::string name;
  std::string data;
  std::function<void(ZipFields& local, ZipFields& central)> tweak;
  std::string behind_data;  ///< for example a data descriptor
};

/// The end record; `before` is put in front of it.
struct ZipEnd {
  std::string before;
  std::uint16_t disk = 0;
  std::uint16_t entries = 0;
  std::uint32_t size = 0;
  std::uint32_t offset = 0;
  std::uint16_t comment_length = 0;
  std::string comment;
};

/// A ZIP archive of stored entries; `tweak` may falsify its end record.
inline std::string build_zip(const std::vector<ZipMember>& members,
                             const std::function<void(ZipEnd&)>& tweak = {}) {
  std::string file;
  std::string directory;
  for (const ZipMember& member : members) {
    ZipFields local;
    local.name = member.name;
    local.crc = crc32(bytes(member.data));
    local.size = local.stored_size = static_cast<std::uint32_t>(member.data.size());
    ZipFields central = local;
    central.local_offset = static_cast<std::uint32_t>(file.size());
    if (member.tweak) member.tweak(local, central);
    const auto common = [](const ZipFields& f) {
      return little_endian(f.flags) + little_endian(f.method) + std::string(4, '\0') +
             little_endian(f.crc) + little_endian(f.stored_size) + little_endian(f.size) +
             little_endian(static_cast<std::uint16_t>(f.name.size())) +
             little_endian(static_cast<std::uint16_t>(f.extra.size()));
    };
    file += "PK\3\4" + std::string(2, '\0') + common(local) + local.name + local.extra +
            member.data + member.behind_data;
    directory += "PK\1\2" + little_endian(central.made_by) + std::string(2, '\0') +
                 common(central) + std::string(2, '\0') + little_endian(central.disk) +
                 std::string(2, '\0') + little_endian(central.attributes) +
                 little_endian(central.local_offset) + central.name + central.extra;
  }
  ZipEnd end;
  end.entries = static_cast<std::uint16_t>(members.size());
  end.offset = static_cast<std::uint32_t>(file.size());
  end.size = static_cast<std::uint32_t>(directory.size());
  if (tweak) tweak(end);
  return file + directory + end.before + "PK\5\6" + little_endian(end.disk) +
         little_endian(end.disk) + little_endian(end.entries) + little_endian(end.entries) +
         little_endian(end.size) + little_endian(end.offset) + little_endian(end.comment_length) +
         end.comment;
}

}  // namespace q2l::test
