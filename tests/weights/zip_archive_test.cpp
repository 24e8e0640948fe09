// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <query2label/weights/zip_archive.hpp>
#include <string>
#include <vector>

#include "support/error_of.hpp"
#include "support/zip_builder.hpp"

namespace {

using q2l::ErrorCode;
using q2l::ZipArchive;
using q2l::test::build_zip;
using q2l::test::bytes;
using q2l::test::error_of;
using q2l::test::little_endian;
using q2l::test::ZipEnd;
using q2l::test::ZipFields;
using q2l::test::ZipMember;

q2l::Error zip_error(const std::string& file, const q2l::Limits& limits = {}) {
  return error_of([&] { ZipArchive archive(bytes(file), limits); });
}

std::string content(const std::string& file, const std::string& name) {
  const ZipArchive archive(bytes(file));
  const q2l::ZipEntry* const entry = archive.find(name);
  REQUIRE(entry != nullptr);
  return std::string(q2l::as_text(ZipArchive::contents(*entry)));
}

/// One entry whose two headers may be falsified.
std::string one_entry(const std::function<void(ZipFields&, ZipFields&)>& tweak,
                      const std::string& behind_data = "") {
  return build_zip({{"first", "abcdef", {}, ""}, {"second", "0123456789", tweak, behind_data}});
}

/// A zip64 end record and its locator for a directory at `offset`.
std::string zip64_end(std::uint64_t entries, std::uint64_t size, std::uint64_t offset,
                      std::uint64_t located_at) {
  return "PK\6\6" + little_endian(std::uint64_t{44}) + std::string(12, '\0') +
         little_endian(entries) + little_endian(entries) + little_endian(size) +
         little_endian(offset) + "PK\6\7" + std::string(4, '\0') + little_endian(located_at) +
         little_endian(std::uint32_t{1});
}

void use_zip64(ZipEnd& end) {
  end.before = zip64_end(end.entries, end.size, end.offset, end.offset + end.size);
  end.entries = 0xFFFF;
  end.size = end.offset = 0xFFFFFFFF;
}

}  // namespace

TEST_CASE("A stored archive gives each entry's bytes and place", "[weights][zip]") {
  const std::string file = build_zip({{"b/data", "two", {}, ""}, {"a", "", {}, ""}});
  const ZipArchive archive(bytes(file));
  REQUIRE(archive.entries().size() == 2);
  CHECK(archive.entries()[0].name == "a");
  CHECK(content(file, "b/data") == "two");
  CHECK(archive.find("b/data")->file_offset == file.find("two"));
  CHECK(archive.find("b") == nullptr);
}

TEST_CASE("A ZIP cut at any byte is truncated, never read", "[weights][zip][Z2]") {
  const std::string file = build_zip({{"a", "some data", {}, ""}, {"b", "more", {}, ""}});
  for (std::size_t size = 0; size < file.size(); ++size) {
    CAPTURE(size);
    const q2l::Error error = zip_error(file.substr(0, size));
    const bool cut_in_end_record = size >= file.size() - 18;
    CHECK(error.code() == (cut_in_end_record ? ErrorCode::bad_zip : ErrorCode::truncated));
    CHECK(error.place().offset == size);
  }
}

TEST_CASE("The last end record whose comment ends with the file counts", "[weights][zip][Z3]") {
  const std::vector<ZipMember> members{{"a", "x", {}, ""}};
  const auto with_comment = [&](const std::string& comment, std::size_t length) {
    return build_zip(members, [&](ZipEnd& end) {
      end.comment = comment;
      end.comment_length = static_cast<std::uint16_t>(length);
    });
  };
  CHECK(content(with_comment("hello", 5), "a") == "x");
  CHECK(content(with_comment(std::string(0xFFFF, 'c'), 0xFFFF), "a") == "x");
  CHECK(content(with_comment("PK\5\6 is no record", 17), "a") == "x");
  CHECK(zip_error(with_comment("hello", 4)).code() == ErrorCode::bad_zip);
  CHECK(zip_error(with_comment("hello", 6)).code() == ErrorCode::bad_zip);
  // An end record inside the comment that also fits is the last one; it describes another archive.
  const std::string inner = build_zip({}, {});
  CHECK(zip_error(with_comment(inner, inner.size())).code() == ErrorCode::bad_zip);
}

TEST_CASE("Zip64 records are followed and must agree with everything else", "[weights][zip][Z4]") {
  const std::vector<ZipMember> members{{"a", "x", {}, ""}};
  CHECK(content(build_zip(members, use_zip64), "a") == "x");
  const auto broken = [&](const std::function<void(ZipEnd&)>& tweak) {
    return zip_error(build_zip(members, tweak)).code();
  };
  CHECK(broken([](ZipEnd& end) { end.offset = 0xFFFFFFFF; }) == ErrorCode::bad_zip);
  for (const std::uint64_t located : {std::uint64_t{1} << 40, ~std::uint64_t{0}, std::uint64_t{0}})
    CHECK(broken([&](ZipEnd& end) { end.before = zip64_end(1, end.size, end.offset, located); }) ==
          ErrorCode::bad_zip);
  CHECK(broken([](ZipEnd& end) {  // to itself
          const std::uint64_t locator = std::uint64_t{end.offset} + end.size + 56;
          end.before = zip64_end(1, end.size, end.offset, locator);
        }) == ErrorCode::bad_zip);
  CHECK(broken([](ZipEnd& end) {
          end.before = zip64_end(2, end.size, end.offset, end.offset + end.size);
        }) == ErrorCode::bad_zip);
  CHECK(broken([](ZipEnd& end) {
          end.before = zip64_end(1, end.size, end.offset - 1, end.offset + end.size);
          end.offset = 0xFFFFFFFF;
        }) == ErrorCode::bad_zip);

  const auto sizes_in_extra = [](const std::string& extra) {
    return one_entry([&](ZipFields&, ZipFields& central) {
      central.size = central.stored_size = 0xFFFFFFFF;
      central.extra = extra;
    });
  };
  const std::string ten = little_endian(std::uint64_t{10});
  const auto field = [](std::uint16_t length, const std::string& body) {
    return little_endian(std::uint16_t{1}) + little_endian(length) + body;
  };
  CHECK(content(sizes_in_extra(field(16, ten + ten)), "second") == "0123456789");
  for (const std::string& extra :
       {std::string(), field(16, ten), field(8, ten), field(0, ""), std::string("\1\0\1", 3),
        field(16, ten + ten) + field(16, ten + ten)}) {
    CAPTURE(extra.size());
    CHECK(zip_error(sizes_in_extra(extra)).code() == ErrorCode::bad_zip);
  }
}

TEST_CASE("The number of entries is bounded and must be true", "[weights][zip][Z5]") {
  const std::vector<ZipMember> members{{"a", "x", {}, ""}, {"b", "y", {}, ""}};
  CHECK(zip_error(build_zip({})).code() == ErrorCode::bad_zip);
  for (const std::uint16_t entries : std::vector<std::uint16_t>{0, 1, 3, 1000})
    CHECK(zip_error(build_zip(members, [&](ZipEnd& end) { end.entries = entries; })).code() ==
          ErrorCode::bad_zip);
  const auto million = [](ZipEnd& end) {
    end.before = zip64_end(1'000'000, end.size, end.offset, end.offset + end.size);
    end.entries = 0xFFFF;
  };
  CHECK(zip_error(build_zip(members, million)).code() == ErrorCode::limit_exceeded);
  CHECK(zip_error(build_zip(members), {.zip_entries = 1}).code() == ErrorCode::limit_exceeded);
}

TEST_CASE("An entry's own header must repeat the directory's", "[weights][zip][Z6]") {
  const std::vector<std::function<void(ZipFields&, ZipFields&)>> tweaks{
      [](ZipFields& local, ZipFields&) { local.name = "Second"; },
      [](ZipFields& local, ZipFields&) { ++local.size; },
      [](ZipFields& local, ZipFields&) { ++local.stored_size; },
      [](ZipFields& local, ZipFields&) { local.method = 8; },
      [](ZipFields& local, ZipFields&) { ++local.crc; },
      [](ZipFields& local, ZipFields&) { local.flags = 0x800; },
      [](ZipFields& local, ZipFields&) { local.crc = local.size = local.stored_size = 0; },
      [](ZipFields&, ZipFields& central) { ++central.size; },
      [](ZipFields&, ZipFields& central) { central.disk = 1; },
      [](ZipFields&, ZipFields& central) { central.local_offset += 1; },
      [](ZipFields&, ZipFields& central) { central.local_offset = 0xFFFFFFF0; },
  };
  for (std::size_t i = 0; i < tweaks.size(); ++i) {
    CAPTURE(i);
    const q2l::Error error = zip_error(one_entry(tweaks[i]));
    CHECK(error.code() == ErrorCode::bad_zip);
    CHECK(error.place().subject == "second");
  }
}

TEST_CASE("Sizes behind the data are accepted where they are true", "[weights][zip]") {
  const std::string data = "0123456789";
  const std::uint32_t crc = q2l::crc32(bytes(data));
  const auto described = [&](const std::string& descriptor) {
    return one_entry(
        [](ZipFields& local, ZipFields& central) {
          local.flags = central.flags = 0x0808;
          local.crc = local.size = local.stored_size = 0;
        },
        descriptor);
  };
  const std::string narrow = little_endian(std::uint32_t{10}) + little_endian(std::uint32_t{10});
  const std::string wide = little_endian(std::uint64_t{10}) + little_endian(std::uint64_t{10});
  for (const std::string& sizes : {narrow, wide})
    for (const std::string signature : {"PK\7\10", ""})
      CHECK(content(described(signature + little_endian(crc) + sizes), "second") == data);
  CHECK(zip_error(described("PK\7\10" + little_endian(crc + 1) + narrow)).code() ==
        ErrorCode::bad_zip);
  CHECK(zip_error(described("")).code() == ErrorCode::bad_zip);
}

TEST_CASE("Encryption and exotic features are refused by name", "[weights][zip][Z7]") {
  const auto flagged = [](std::uint16_t flags) {
    return zip_error(one_entry(
        [&](ZipFields& local, ZipFields& central) { local.flags = central.flags = flags; }));
  };
  for (const std::uint16_t flags : std::vector<std::uint16_t>{0x0001, 0x0040, 0x2000})
    CHECK(flagged(flags).code() == ErrorCode::encrypted);
  for (const std::uint16_t flags : std::vector<std::uint16_t>{0x0010, 0x0020, 0x8000})
    CHECK(flagged(flags).code() == ErrorCode::unsupported_zip);
  CHECK(flagged(0x0001).place().subject == "second");
}

TEST_CASE("Changed bytes are noticed by their checksum", "[weights][zip][Z8]") {
  std::string file = one_entry({});
  const std::size_t at = file.find("456");
  file[at] = 'x';
  const ZipArchive archive(bytes(file));
  const q2l::ZipEntry& entry = *archive.find("second");
  const q2l::Error error = error_of([&] { (void)ZipArchive::contents(entry); });
  CHECK(error.code() == ErrorCode::checksum_mismatch);
  CHECK(error.place().subject == "second");
  CHECK(ZipArchive::contents(entry, false).size() == 10);
}

TEST_CASE("An archive without any checksum is read as it is, one with others is not",
          "[weights][zip][Z8]") {
  const auto no_checksum = [](ZipFields& local, ZipFields& central) {
    local.crc = central.crc = 0;
  };
  const std::string none =
      build_zip({{"first", "abcdef", no_checksum, ""}, {"second", "0123456789", no_checksum, ""}});
  CHECK_FALSE(ZipArchive(bytes(none)).has_checksums());
  CHECK(content(none, "second") == "0123456789");
  const std::string one = one_entry(no_checksum);
  const ZipArchive archive(bytes(one));
  CHECK(archive.has_checksums());
  CHECK(error_of([&] { (void)ZipArchive::contents(*archive.find("second")); }).code() ==
        ErrorCode::checksum_mismatch);
}

TEST_CASE("Entries that share bytes are refused", "[weights][zip][Z9]") {
  const auto same = [](ZipFields& local, ZipFields& central) {
    local.name = central.name = "first";
    central.local_offset = 0;
    local.crc = central.crc = q2l::crc32(bytes("abcdef"));
    central.size = central.stored_size = 6;
  };
  CHECK(zip_error(one_entry(same)).code() == ErrorCode::overlap);
  const auto longer = [](ZipFields& local, ZipFields& central) {
    local.size = local.stored_size = central.size = central.stored_size = 20;
  };
  const std::string overlapping =
      build_zip({{"first", "abcdef", longer, ""}, {"second", "0123456789", {}, ""}});
  const q2l::Error error = zip_error(overlapping);
  CHECK(error.code() == ErrorCode::overlap);
  CHECK(error.place().subject == "second");
  const auto into_directory = [](ZipFields& local, ZipFields& central) {
    local.size = local.stored_size = central.size = central.stored_size = 11;
  };
  CHECK(zip_error(one_entry(into_directory)).code() == ErrorCode::bad_zip);
}

TEST_CASE("Bytes that another entry holds are not read again", "[weights][zip][hostile][Z9]") {
  const auto not_a_header = [](ZipFields&, ZipFields& central) { central.local_offset = 1; };
  const q2l::Error error = zip_error(one_entry(not_a_header));
  CHECK(error.code() == ErrorCode::overlap);
  CHECK(error.place().offset == 1u);
}

TEST_CASE("Compressed entries are refused when they are asked for", "[weights][zip][Z11]") {
  for (const std::uint16_t method : std::vector<std::uint16_t>{8, 12, 14, 93}) {
    const std::string file = one_entry(
        [&](ZipFields& local, ZipFields& central) { local.method = central.method = method; });
    CHECK(content(file, "first") == "abcdef");
    const q2l::Error error = error_of([&] { content(file, "second"); });
    CHECK(error.code() == ErrorCode::unsupported_compression);
    CHECK(error.place().actual == std::to_string(method));
  }
}

TEST_CASE("Names that one file system would confuse are duplicates", "[weights][zip][Z12]") {
  for (const std::string name : {"a/b", "a\\b", "./a/b", "a/./b", "A/b"}) {
    CAPTURE(name);
    const std::string file = build_zip({{"a/b", "x", {}, ""}, {name, "y", {}, ""}});
    CHECK(zip_error(file).code() == ErrorCode::duplicate_name);
  }
}

TEST_CASE("Names that leave their folder are refused", "[weights][zip][Z13]") {
  for (const std::string name : {"/etc/passwd", "../x", "a/../b", "a/..", "C:x", "\\x", "a\\..\\b"})
    CHECK(zip_error(build_zip({{name, "x", {}, ""}})).code() == ErrorCode::bad_zip);
  CHECK(zip_error(build_zip({{"", "x", {}, ""}})).code() == ErrorCode::bad_zip);
  CHECK(zip_error(build_zip({{std::string("a\0b", 3), "x", {}, ""}})).code() == ErrorCode::bad_zip);
  CHECK(content(build_zip({{"a..b/.../c", "x", {}, ""}}), "a..b/.../c") == "x");
  const auto link = [](ZipFields&, ZipFields& central) {
    central.made_by = 3 << 8;
    central.attributes = 0120777u << 16;
  };
  CHECK(zip_error(build_zip({{"a", "x", link, ""}})).code() == ErrorCode::bad_zip);
}

TEST_CASE("Bytes before the first entry are refused", "[weights][zip][Z17]") {
  const std::string file = build_zip({{"a", "x", {}, ""}});
  CHECK(zip_error("#!/bin/sh\n" + file).code() == ErrorCode::bad_zip);
  std::string shifted = build_zip({{"a", "first", {}, ""}, {"b", "x", {}, ""}});
  // Forget the first entry: its bytes stay before the second.
  const std::size_t directory = shifted.find("PK\1\2");
  const std::size_t second = shifted.find("PK\1\2", directory + 1);
  shifted.erase(directory, second - directory);
  const std::size_t end = shifted.find("PK\5\6");
  shifted[end + 8] = shifted[end + 10] = 1;
  shifted[end + 12] = static_cast<char>(end - directory);
  const q2l::Error error = zip_error(shifted);
  CHECK(error.code() == ErrorCode::bad_zip);
  CHECK(error.place().offset == 0u);
}
