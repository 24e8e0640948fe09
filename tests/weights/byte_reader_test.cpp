// SPDX-License-Identifier: MIT
#include <query2label/weights/byte_reader.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <string>

#include "support/byte_strings.hpp"
#include "support/error_of.hpp"

using q2l::ByteReader;
using q2l::ErrorCode;
using q2l::test::bytes;
using q2l::test::error_of;

TEST_CASE("Checked arithmetic gives nothing instead of wrapping", "[weights]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  CHECK(q2l::checked_add(most - 1, 1) == most);
  CHECK_FALSE(q2l::checked_add(most, 1));
  CHECK(q2l::checked_mul(std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1));
  CHECK_FALSE(q2l::checked_mul(std::uint64_t{1} << 32, std::uint64_t{1} << 32));
  CHECK(q2l::checked_mul(0, most) == 0u);
  CHECK(q2l::checked_mul(most, 0) == 0u);
}

TEST_CASE("A reader takes little-endian values and reports places in the file", "[weights]") {
  const std::string data("\x01\x02\x03\x04\x05\x06\x07", 7);
  ByteReader reader(bytes(data), 100);
  CHECK(reader.read<std::uint8_t>() == 1);
  CHECK(reader.read<std::uint32_t>() == 0x05040302u);
  CHECK(reader.offset() == 105);
  CHECK(reader.position() == 5);
  CHECK(reader.remaining() == 2);
  const q2l::Error error = error_of([&] { (void)reader.read<std::uint32_t>(); });
  CHECK(error.code() == ErrorCode::truncated);
  CHECK(error.place().offset == 105u);
  CHECK(error.place().actual == "2");
  CHECK(error_of([&] { (void)reader.take(std::numeric_limits<std::uint64_t>::max()); }).code() ==
        ErrorCode::truncated);
  CHECK(reader.read<std::uint16_t>() == 0x0706u);  // a failure takes nothing
  CHECK(reader.take(0).empty());
}

TEST_CASE("A line is read up to its newline and bounded", "[weights]") {
  ByteReader reader(bytes("ab\n\nlonger"));
  CHECK(reader.read_line(2) == "ab");
  CHECK(reader.read_line(2).empty());
  CHECK(error_of([&] { (void)reader.read_line(5); }).code() == ErrorCode::limit_exceeded);
  CHECK(error_of([&] { (void)reader.read_line(6); }).code() == ErrorCode::truncated);
}
