// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/crc32.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/zip_directory.hpp"

namespace q2l {

/// A file inside a ZIP archive.
struct ZipEntry {
  std::string_view name;
  std::span<const std::byte> data;  ///< as stored
  std::uint64_t file_offset = 0;    ///< of `data`
  std::uint32_t crc = 0;            ///< of the content
  std::uint16_t method = 0;         ///< 0: stored without compression
  bool has_crc = true;
};

/// A ZIP archive in memory, checked in full when it is opened: each entry's two headers agree, no
/// two entries share bytes or names, nothing lies before the first. Contents are checked when they
/// are asked for. Names and data refer to the bytes given.
class ZipArchive {
 public:
  /// Throws truncated, bad_zip, encrypted, unsupported_zip, overlap, duplicate_name,
  /// limit_exceeded.
  explicit ZipArchive(std::span<const std::byte> file, const Limits& limits = {}) : file_(file) {
    const detail::ZipDirectory directory = detail::find_zip_directory(file, limits);
    ByteReader reader(file.subspan(static_cast<std::size_t>(directory.offset),
                                   static_cast<std::size_t>(directory.size)),
                      directory.offset);
    std::vector<detail::ZipHeader> headers;
    headers.reserve(static_cast<std::size_t>(directory.entries));
    for (std::uint64_t i = 0; i < directory.entries; ++i)
      headers.push_back(detail::read_central_header(reader));
    if (reader.remaining() != 0)
      throw Error(ErrorCode::bad_zip, "the directory holds more than its entries",
                  {.offset = reader.offset()});
    add_all(headers, directory.offset);
    // What torch.serialization.set_crc32_options(False) makes torch.save write.
    has_checksums_ = std::any_of(entries_.begin(), entries_.end(),
                                 [](const ZipEntry& entry) { return entry.crc != 0; });
    for (ZipEntry& entry : entries_) entry.has_crc = has_checksums_;
    detail::refuse_repeated_zip_names(names());
    std::sort(entries_.begin(), entries_.end(),
              [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  }

  /// Whether the writer stored any: where all are 0, none is compared.
  [[nodiscard]] bool has_checksums() const noexcept { return has_checksums_; }

  /// Sorted by name.
  [[nodiscard]] std::span<const ZipEntry> entries() const noexcept { return entries_; }

  /// The entry of that exact name, or null.
  [[nodiscard]] const ZipEntry* find(std::string_view name) const noexcept {
    const auto at = std::lower_bound(
        entries_.begin(), entries_.end(), name,
        [](const ZipEntry& entry, std::string_view wanted) { return entry.name < wanted; });
    return at != entries_.end() && at->name == name ? &*at : nullptr;
  }

  /// The bytes of an entry. Throws unsupported_compression unless it is stored, and, where `verify`
  /// is set, checksum_mismatch if they have changed since they were written.
  [[nodiscard]] static std::span<const std::byte> contents(const ZipEntry& entry,
                                                           bool verify = true) {
    if (entry.method != 0)
      throw Error(ErrorCode::unsupported_compression,
                  "the entry is compressed; torch.save only stores",
                  {.offset = entry.file_offset,
                   .subject = std::string(entry.name),
                   .expected = "method 0",
                   .actual = std::to_string(entry.method)});
    if (verify && entry.has_crc && crc32(entry.data) != entry.crc)
      throw Error(ErrorCode::checksum_mismatch,
                  "the entry's bytes do not have its CRC-32; the file is damaged",
                  {.offset = entry.file_offset, .subject = std::string(entry.name)});
    return entry.data;
  }

 private:
  /// Goes by the order of the bytes: one that overlaps is not read, so time stays in proportion to
  /// the file.
  void add_all(std::span<detail::ZipHeader> headers, std::uint64_t directory_offset) {
    std::sort(headers.begin(), headers.end(),
              [](const detail::ZipHeader& a, const detail::ZipHeader& b) {
                return a.local_offset < b.local_offset;
              });
    if (headers.front().local_offset != 0)
      throw Error(ErrorCode::bad_zip, "bytes lie before the first entry", {.offset = 0});
    entries_.reserve(headers.size());
    std::uint64_t end = 0;
    for (const detail::ZipHeader& header : headers) {
      if (header.local_offset < end)
        throw Error(ErrorCode::overlap, "the entry overlaps another",
                    {.offset = header.local_offset, .subject = std::string(header.name)});
      end = add(header, directory_offset);
    }
  }

  /// Returns where the entry ends.
  std::uint64_t add(const detail::ZipHeader& header, std::uint64_t directory_offset) {
    ByteReader reader =
        detail::read_local_header(file_.first(static_cast<std::size_t>(directory_offset)), header);
    ZipEntry entry{.name = header.name,
                   .data = {},
                   .file_offset = reader.offset(),
                   .crc = header.crc,
                   .method = header.method};
    if (header.stored_size > reader.remaining())
      throw Error(ErrorCode::bad_zip, "the entry reaches past the start of the directory",
                  {.offset = entry.file_offset,
                   .subject = std::string(header.name),
                   .expected = "at most " + std::to_string(reader.remaining()) + " bytes",
                   .actual = std::to_string(header.stored_size)});
    entry.data = reader.take(header.stored_size);
    if (header.has_descriptor()) detail::skip_data_descriptor(reader, header);
    entries_.push_back(entry);
    return reader.offset();
  }

  [[nodiscard]] std::vector<std::string_view> names() const {
    std::vector<std::string_view> out;
    out.reserve(entries_.size());
    for (const ZipEntry& entry : entries_) out.push_back(entry.name);
    return out;
  }

  std::span<const std::byte> file_;
  std::vector<ZipEntry> entries_;
  bool has_checksums_ = true;
};

}  // namespace q2l
