// SPDX-License-Identifier: MIT
// The records of the ZIP format (PKWARE APPNOTE 6.3.10), as far as torch.save uses them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/tensor_names.hpp"

namespace q2l::detail {

inline constexpr std::uint32_t zip_local_signature = 0x04034b50;       // PK\3\4
inline constexpr std::uint32_t zip_central_signature = 0x02014b50;     // PK\1\2
inline constexpr std::uint32_t zip64_end_signature = 0x06064b50;       // PK\6\6
inline constexpr std::uint32_t zip64_locator_signature = 0x07064b50;   // PK\6\7
inline constexpr std::uint32_t zip_descriptor_signature = 0x08074b50;  // PK\7\8

inline constexpr std::uint64_t zip_end_size = 22;
inline constexpr std::uint64_t zip64_locator_size = 20;
inline constexpr std::uint64_t zip64_end_size = 56;
inline constexpr std::uint64_t zip_central_size = 46;

/// A size or offset of this value stands in the 64-bit record instead.
inline constexpr std::uint32_t in_zip64 = 0xFFFFFFFF;
inline constexpr std::uint16_t count_in_zip64 = 0xFFFF;

/// Where the list of entries lies.
struct ZipDirectory {
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t entries;
};

/// What both headers of an entry say.
struct ZipHeader {
  std::string_view name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;
  std::uint64_t local_offset = 0;
  std::uint64_t central_offset = 0;  ///< of the directory's header, for errors

  /// Whether CRC and sizes follow the data because the writer did not know them before.
  [[nodiscard]] bool has_descriptor() const noexcept { return (flags & 0x0008u) != 0; }
};

[[noreturn]] inline void fail_zip(std::string_view detail, std::uint64_t offset,
                                  std::string_view name = {}) {
  throw Error(ErrorCode::bad_zip, detail, {.offset = offset, .subject = std::string(name)});
}

/// The offset of the end record: the last one whose comment ends where the file ends.
inline std::uint64_t find_zip_end(std::span<const std::byte> file) {
  constexpr std::string_view signature = "PK\5\6";
  constexpr std::size_t longest_comment = 0xFFFF;
  const auto tail = file.last(std::min<std::size_t>(file.size(), zip_end_size + longest_comment));
  const std::string_view text = as_text(tail);
  std::size_t at = text.rfind(signature);
  const bool found = at != std::string_view::npos;
  while (at != std::string_view::npos) {
    if (tail.size() - at >= zip_end_size) {
      ByteReader reader(tail.subspan(at + zip_end_size - 2));
      if (reader.read<std::uint16_t>() == reader.remaining()) return file.size() - tail.size() + at;
    }
    at = at == 0 ? std::string_view::npos : text.rfind(signature, at - 1);
  }
  if (found) fail_zip("no end record whose comment ends with the file", file.size());
  throw Error(ErrorCode::truncated,
              "no end-of-central-directory record; the file is probably incomplete",
              {.offset = file.size()});
}

/// The directory as the 64-bit end record gives it; `end` is the offset of the plain end record.
inline ZipDirectory read_zip64_end(std::span<const std::byte> file, std::uint64_t end) {
  const std::uint64_t locator = end - zip64_locator_size;
  ByteReader reader(file.subspan(static_cast<std::size_t>(locator)), locator);
  reader.take(4);
  const auto disk = reader.read<std::uint32_t>();
  const auto record = reader.read<std::uint64_t>();
  const auto disks = reader.read<std::uint32_t>();
  if (disk != 0 || disks > 1) fail_zip("an archive of several disks", locator);
  if (locator < zip64_end_size || record > locator - zip64_end_size)
    fail_zip("the zip64 locator points outside the archive", locator);
  reader = ByteReader(
      file.subspan(static_cast<std::size_t>(record), static_cast<std::size_t>(locator - record)),
      record);
  if (reader.read<std::uint32_t>() != zip64_end_signature)
    fail_zip("the zip64 locator does not point to an end record", locator);
  if (reader.read<std::uint64_t>() != reader.remaining())
    fail_zip("the zip64 end record does not reach to its locator", record);
  reader.take(4);  // versions
  const auto this_disk = reader.read<std::uint32_t>();
  const auto first_disk = reader.read<std::uint32_t>();
  const auto entries_here = reader.read<std::uint64_t>();
  ZipDirectory directory{};
  directory.entries = reader.read<std::uint64_t>();
  directory.size = reader.read<std::uint64_t>();
  directory.offset = reader.read<std::uint64_t>();
  if (this_disk != 0 || first_disk != 0 || entries_here != directory.entries)
    fail_zip("an archive of several disks", record);
  if (checked_add(directory.offset, directory.size) != record)
    fail_zip("the directory does not end at the zip64 end record", record);
  return directory;
}

/// Finds the directory and checks that it ends where the end records begin.
inline ZipDirectory find_zip_directory(std::span<const std::byte> file, const Limits& limits) {
  const std::uint64_t end = find_zip_end(file);
  ByteReader reader(file.subspan(static_cast<std::size_t>(end)), end);
  reader.take(4);
  const auto disk = reader.read<std::uint16_t>();
  const auto first_disk = reader.read<std::uint16_t>();
  const auto entries_here = reader.read<std::uint16_t>();
  const auto entries = reader.read<std::uint16_t>();
  const auto size = reader.read<std::uint32_t>();
  const auto offset = reader.read<std::uint32_t>();
  if (disk != 0 || first_disk != 0 || entries_here != entries)
    fail_zip("an archive of several disks", end);

  ZipDirectory directory{.offset = offset, .size = size, .entries = entries};
  const bool has_zip64 =
      end >= zip64_locator_size &&
      ByteReader(file.subspan(static_cast<std::size_t>(end - zip64_locator_size)))
              .read<std::uint32_t>() == zip64_locator_signature;
  if (has_zip64) {
    directory = read_zip64_end(file, end);
    if ((entries != count_in_zip64 && entries != directory.entries) ||
        (size != in_zip64 && size != directory.size) ||
        (offset != in_zip64 && offset != directory.offset))
      fail_zip("the two end records disagree", end);
  } else if (directory.offset + directory.size != end) {
    fail_zip("the directory does not end at the end record", end);
  }
  if (directory.entries > limits.zip_entries)
    throw Error(ErrorCode::limit_exceeded, "too many entries",
                {.offset = end,
                 .expected = "at most " + std::to_string(limits.zip_entries),
                 .actual = std::to_string(directory.entries)});
  if (directory.entries == 0) fail_zip("the archive is empty", end);
  if (directory.entries > directory.size / zip_central_size)
    fail_zip("the directory is too small for its entries", end);
  return directory;
}

/// Replaces the values of `header` that stand in the zip64 extra field.
inline void read_zip64_extra(std::span<const std::byte> extra, std::uint64_t offset,
                             ZipHeader& header) {
  constexpr std::uint16_t zip64_id = 1;
  const bool wanted =
      header.size == in_zip64 || header.stored_size == in_zip64 || header.local_offset == in_zip64;
  bool found = false;
  ByteReader fields(extra, offset);
  while (fields.remaining() != 0) {
    if (fields.remaining() < 4) fail_zip("an extra field is cut", fields.offset(), header.name);
    const auto id = fields.read<std::uint16_t>();
    const auto length = fields.read<std::uint16_t>();
    if (length > fields.remaining())
      fail_zip("an extra field's length lies", fields.offset(), header.name);
    const std::uint64_t field_offset = fields.offset();
    ByteReader field(fields.take(length), field_offset);
    if (id != zip64_id) continue;
    if (found) fail_zip("two zip64 extra fields", field_offset, header.name);
    found = true;
    for (std::uint64_t* const value : {&header.size, &header.stored_size, &header.local_offset}) {
      if (*value != in_zip64) continue;
      if (field.remaining() < 8)
        fail_zip("the zip64 extra field is too short", field_offset, header.name);
      *value = field.read<std::uint64_t>();
    }
  }
  if (wanted && !found) fail_zip("the zip64 extra field is missing", offset, header.name);
}

/// Refuses entries that need more than stored bytes.
inline void require_plain_entry(const ZipHeader& header, std::uint16_t made_by,
                                std::uint32_t attributes) {
  constexpr std::uint16_t encryption = 0x0001 | 0x0040 | 0x2000;
  constexpr std::uint16_t harmless =
      0x0002 | 0x0004 | 0x0008 | 0x0800;  // compression level, descriptor, UTF-8
  const ErrorPlace place{.offset = header.central_offset, .subject = std::string(header.name)};
  if ((header.flags & encryption) != 0)
    throw Error(ErrorCode::encrypted, "the entry is encrypted", place);
  if ((header.flags & ~harmless) != 0)
    throw Error(ErrorCode::unsupported_zip, "the entry uses a feature that is not supported",
                place);
  if (header.method == 0 && header.stored_size != header.size)
    fail_zip("the entry's two sizes differ although it is stored", header.central_offset,
             header.name);
  constexpr std::uint16_t unix_host = 3;
  constexpr std::uint32_t file_type = 0170000;
  constexpr std::uint32_t symbolic_link = 0120000;
  if (made_by >> 8 == unix_host && ((attributes >> 16) & file_type) == symbolic_link)
    fail_zip("the entry is a symbolic link", header.central_offset, header.name);
  const std::string_view name = header.name;
  const bool absolute =
      name.starts_with('/') || name.starts_with('\\') || (name.size() > 1 && name[1] == ':');
  bool climbs = false;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find_first_of("/\\", begin), name.size());
    climbs = climbs || name.substr(begin, end - begin) == "..";
    begin = end + 1;
  }
  if (name.empty() || absolute || climbs || name.find('\0') != std::string_view::npos)
    fail_zip("the entry's name is not a plain relative path", header.central_offset, header.name);
}

/// Reads the next header of the directory.
inline ZipHeader read_central_header(ByteReader& reader) {
  ZipHeader header;
  header.central_offset = reader.offset();
  if (reader.remaining() < zip_central_size ||
      reader.read<std::uint32_t>() != zip_central_signature)
    fail_zip("the directory does not hold the entries it promises", header.central_offset);
  const auto made_by = reader.read<std::uint16_t>();
  reader.take(2);  // version needed
  header.flags = reader.read<std::uint16_t>();
  header.method = reader.read<std::uint16_t>();
  reader.take(4);  // time and date
  header.crc = reader.read<std::uint32_t>();
  header.stored_size = reader.read<std::uint32_t>();
  header.size = reader.read<std::uint32_t>();
  const auto name_length = reader.read<std::uint16_t>();
  const auto extra_length = reader.read<std::uint16_t>();
  const auto comment_length = reader.read<std::uint16_t>();
  const auto disk = reader.read<std::uint16_t>();
  reader.take(2);  // internal attributes
  const auto attributes = reader.read<std::uint32_t>();
  header.local_offset = reader.read<std::uint32_t>();
  if (reader.remaining() < std::uint64_t{name_length} + extra_length + comment_length)
    fail_zip("an entry reaches past the end of the directory", header.central_offset);
  header.name = as_text(reader.take(name_length));
  const std::uint64_t extra_offset = reader.offset();
  read_zip64_extra(reader.take(extra_length), extra_offset, header);
  reader.take(comment_length);
  if (disk != 0) fail_zip("an archive of several disks", header.central_offset, header.name);
  require_plain_entry(header, made_by, attributes);
  return header;
}

/// Reads an entry's own header and leaves the reader at its data. `entries` are the bytes before
/// the directory. Throws bad_zip where the header differs from the directory's.
inline ByteReader read_local_header(std::span<const std::byte> entries, const ZipHeader& central) {
  constexpr std::uint64_t local_size = 30;
  const std::uint64_t offset = central.local_offset;
  if (offset > entries.size() || entries.size() - offset < local_size)
    fail_zip("the entry lies outside the archive", central.central_offset, central.name);
  ByteReader reader(entries.subspan(static_cast<std::size_t>(offset)), offset);
  const auto signature = reader.read<std::uint32_t>();
  reader.take(2);  // version needed
  ZipHeader local;
  local.flags = reader.read<std::uint16_t>();
  local.method = reader.read<std::uint16_t>();
  reader.take(4);  // time and date
  local.crc = reader.read<std::uint32_t>();
  local.stored_size = reader.read<std::uint32_t>();
  local.size = reader.read<std::uint32_t>();
  const auto name_length = reader.read<std::uint16_t>();
  const auto extra_length = reader.read<std::uint16_t>();
  if (reader.remaining() < std::uint64_t{name_length} + extra_length)
    fail_zip("the entry's header is cut", offset, central.name);
  local.name = as_text(reader.take(name_length));
  const std::uint64_t extra_offset = reader.offset();
  const auto extra = reader.take(extra_length);
  read_zip64_extra(extra, extra_offset, local);
  const bool same_values = local.crc == central.crc && local.stored_size == central.stored_size &&
                           local.size == central.size;
  const bool left_open =
      central.has_descriptor() && local.crc == 0 && local.stored_size == 0 && local.size == 0;
  if (signature != zip_local_signature || local.name != central.name ||
      local.flags != central.flags || local.method != central.method || !(same_values || left_open))
    fail_zip("the entry's header differs from the directory", offset, central.name);
  return reader;
}

/// Passes the record behind the data, which must repeat the directory's CRC and sizes. Its
/// signature is optional and its sizes take 4 or 8 bytes each.
inline void skip_data_descriptor(ByteReader& reader, const ZipHeader& header) {
  for (const bool wide : {false, true})
    for (const bool with_signature : {true, false}) {
      ByteReader attempt = reader;
      const std::size_t length = (with_signature ? 8u : 4u) + (wide ? 16u : 8u);
      if (attempt.remaining() < length) continue;
      if (with_signature && attempt.read<std::uint32_t>() != zip_descriptor_signature) continue;
      const bool crc = attempt.read<std::uint32_t>() == header.crc;
      const auto read_size = [&]() -> std::uint64_t {
        return wide ? attempt.read<std::uint64_t>() : attempt.read<std::uint32_t>();
      };
      const bool stored_size = read_size() == header.stored_size;
      const bool size = read_size() == header.size;
      if (!crc || !stored_size || !size) continue;
      reader = attempt;
      return;
    }
  fail_zip("the record behind the data differs from the directory", reader.offset(), header.name);
}

/// Throws duplicate_name where two names are one on some file system: `\` for `/`, a `./` more,
/// other case.
inline void refuse_repeated_zip_names(std::span<const std::string_view> names) {
  std::vector<std::string> folded;
  folded.reserve(names.size());
  for (const std::string_view name : names) {
    std::string& out = folded.emplace_back();
    for (const char c : name) {
      const bool upper = c >= 'A' && c <= 'Z';
      out += c == '\\' ? '/' : upper ? static_cast<char>(c - 'A' + 'a') : c;
      if (out == "./" || out.ends_with("/./")) out.resize(out.size() - 2);
    }
  }
  sort_distinct(folded, "two entries have this name");
}

}  // namespace q2l::detail
