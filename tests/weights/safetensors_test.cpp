// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <query2label/weights/safetensors.hpp>
#include <query2label/weights/safetensors_writer.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/byte_strings.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

namespace {

using q2l::Dtype;
using q2l::ErrorCode;
using q2l::test::bytes;
using q2l::test::error_of;
using q2l::test::little_endian;
using namespace std::string_literals;

std::string file_of(const std::string& header, const std::string& data = "") {
  return little_endian(std::uint64_t{header.size()}) + header + data;
}

q2l::Error safetensors_error(const std::string& file, const q2l::Limits& limits = {}) {
  return error_of([&] { (void)q2l::parse_safetensors(bytes(file), limits); });
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

/// The error of a file of the one tensor "t" and 8 bytes of data.
q2l::Error error_of_tensor(const std::string& dtype, const std::string& shape,
                           const std::string& offsets) {
  return safetensors_error(file_of("{\"t\":" + entry(dtype, shape, offsets) + "}", "01234567"));
}

const std::string two_bytes = entry("U8", "[2]", "[0,2]");

}  // namespace

TEST_CASE("Written tensors and metadata read back to the bit", "[weights][safetensors]") {
  const q2l::test::TemporaryFolder folder;
  const std::vector<float> floats{1.5f, -2.0f, 3e38f};
  const std::vector<std::uint16_t> halves{0x3C00};
  const std::vector<q2l::TensorBytes> tensors{
      {"z \"quoted\" \xc3\xa9", Dtype::f32, {3, 1}, std::as_bytes(std::span(floats))},
      {"empty", Dtype::i64, {0, 5}, {}},
      {"a", Dtype::f16, {}, std::as_bytes(std::span(halves))},
  };
  const std::map<std::string, std::string> metadata{{"labels", "cat\ndog"}, {"k", ""}};
  const auto path = folder / "m.safetensors";
  q2l::write_safetensors(path, tensors, metadata);
  const std::string file = q2l::test::content_of(path);
  const q2l::Safetensors read = q2l::parse_safetensors(bytes(file));
  CHECK(read.metadata == metadata);
  REQUIRE(read.tensors.size() == 3);
  CHECK(read.tensors[0].name == tensors[0].name);
  CHECK(read.tensors[0].shape == tensors[0].shape);
  CHECK(read.tensors[0].read<float>() == floats);
  CHECK(read.tensors[0].file_offset % 64 == 0);
  CHECK(read.tensors[1].shape == std::vector<std::uint64_t>{0, 5});
  CHECK(read.tensors[2].read<float>() == std::vector<float>{1.0f});
}

TEST_CASE("The writer refuses what it could not read back", "[weights][safetensors]") {
  const q2l::test::TemporaryFolder folder;
  const auto path = folder / "m.safetensors";
  const auto error_writing = [&](const std::vector<q2l::TensorBytes>& tensors) {
    return error_of([&] { q2l::write_safetensors(path, tensors); }).code();
  };
  const auto data = bytes("1234");
  CHECK(error_writing({{"a", Dtype::f32, {2}, data}}) == ErrorCode::bad_argument);
  CHECK(error_writing({{"a", Dtype::f32, {1}, data}, {"a", Dtype::f32, {1}, data}}) ==
        ErrorCode::bad_argument);
  CHECK(error_writing({{"", Dtype::f32, {1}, data}}) == ErrorCode::bad_argument);
  CHECK(error_writing({{"__metadata__", Dtype::f32, {1}, data}}) == ErrorCode::bad_argument);
  CHECK(error_writing({{"\xff", Dtype::f32, {1}, data}}) == ErrorCode::bad_encoding);
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(error_of([&] { q2l::write_safetensors(folder / "no" / "m", {}); }).code() ==
        ErrorCode::output_io);
}

TEST_CASE("Fewer than eight bytes are truncated", "[weights][safetensors][S1]") {
  for (std::size_t size = 0; size < 8; ++size) {
    const q2l::Error error = safetensors_error(std::string(size, '\1'));
    CHECK(error.code() == ErrorCode::truncated);
    CHECK(error.place().offset == 0u);
    CHECK(error.place().actual == std::to_string(size));
  }
}

TEST_CASE("Impossible header lengths are refused", "[weights][safetensors][S2][S3]") {
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{11}}) {
    const q2l::Error error = safetensors_error(little_endian(length) + "{}");
    CHECK(error.code() == ErrorCode::bad_header);
  }
  for (const std::uint64_t length : {std::uint64_t{1} << 63, ~std::uint64_t{0},
                                     ~std::uint64_t{0} - 7, std::uint64_t{100'000'001}}) {
    const q2l::Error error = safetensors_error(little_endian(length) + "{}");
    CHECK(error.code() == ErrorCode::limit_exceeded);
    CHECK(error.place().offset == 0u);
  }
}

TEST_CASE("The header is one object with at most spaces behind it", "[weights][safetensors][S4]") {
  for (const std::string header :
       {" {}", "[]", "{} \n", "{}\n", "{}{}", "{", "}", "", "{}x", "{,}", "null", "\xEF\xBB\xBF{}"})
    CHECK(safetensors_error(file_of(header)).code() == ErrorCode::bad_header);
  for (const std::string& header : {"{}\0"s, "{}\0}"s, "{}\0{\"x\":{}}"s})
    CHECK(safetensors_error(file_of(header)).code() == ErrorCode::bad_header);
  CHECK(q2l::parse_safetensors(bytes(file_of("{}   "))).tensors.empty());
}

TEST_CASE("Names in other encodings are refused with their place", "[weights][safetensors][S5]") {
  for (const std::string name : {"\xff", "\xc0\xaf", "\\ud800"})
    CHECK(safetensors_error(file_of("{\"" + name + "\":" + two_bytes + "}", "ab")).code() ==
          ErrorCode::bad_encoding);
  CHECK(safetensors_error(file_of("{\"\xff\":0}")).place().offset == 8 + 2u);
}

TEST_CASE("Shapes must be short lists of whole numbers whose product fits",
          "[weights][safetensors][S6][S7]") {
  for (const std::string shape :
       {"[4294967296,4294967296]", "[-1]", "[1.0]", "[1e2]", "[9223372036854775808,4]",
        "[18446744073709551616]", "\"2\"", "null", "[[2]]", "[null]", "2", "[1,1,1,1,1,1,1,1,1]",
        "[2305843009213693952]"}) {
    CAPTURE(shape);
    const q2l::Error error = error_of_tensor("F64", shape, "[0,0]");
    CHECK(error.code() == ErrorCode::bad_shape);
    CHECK(error.place().subject == "t");
  }
  CHECK(safetensors_error(file_of("{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}")).code() ==
        ErrorCode::bad_shape);
}

TEST_CASE("Data ranges must be pairs that fit shape and file", "[weights][safetensors][S8]") {
  for (const std::string offsets : {"[0]", "[0,4,8]", "[4,0]", "[-1,4]", "[0.0,8]", "{}", "null"})
    CHECK(error_of_tensor("F32", "[2]", offsets).code() == ErrorCode::bad_offset);
  CHECK(error_of_tensor("F32", "[2]", "[0,4]").code() == ErrorCode::size_mismatch);
  CHECK(error_of_tensor("F32", "[1048576]", "[0,4]").code() == ErrorCode::size_mismatch);
  const q2l::Error error = error_of_tensor("F32", "[3]", "[0,12]");
  CHECK(error.code() == ErrorCode::truncated);
  CHECK(error.place().subject == "t");
  CHECK(error_of_tensor("U8", "[8]", "[18446744073709551607,18446744073709551615]").code() ==
        ErrorCode::bad_offset);
}

TEST_CASE("Tensors must tile the data", "[weights][safetensors][S9]") {
  const auto two = [](const std::string& first, const std::string& second) {
    return safetensors_error(file_of(
        "{\"a\":" + entry("U8", "[4]", first) + ",\"b\":" + entry("U8", "[4]", second) + "}",
        "01234567"));
  };
  CHECK(two("[0,4]", "[0,4]").code() == ErrorCode::overlap);
  CHECK(two("[0,4]", "[3,7]").code() == ErrorCode::overlap);
  CHECK(two("[3,7]", "[0,4]").place().subject == "a");
  CHECK(two("[0,4]", "[5,9]").code() == ErrorCode::bad_offset);
  CHECK(error_of_tensor("U8", "[7]", "[0,7]").code() == ErrorCode::bad_offset);
  CHECK(error_of_tensor("U8", "[7]", "[1,8]").code() == ErrorCode::bad_offset);
}

TEST_CASE("Many tensors over the same bytes are refused fast", "[weights][safetensors][S10]") {
  std::string header = "{";
  for (int i = 0; i < 20'000; ++i)
    header +=
        (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":" + entry("U8", "[1000]", "[0,1000]");
  CHECK(safetensors_error(file_of(header + "}", std::string(1000, 'x'))).code() ==
        ErrorCode::overlap);
}

TEST_CASE("Names that appear twice are refused", "[weights][safetensors][S11]") {
  const std::string second = entry("U8", "[2]", "[2,4]");
  for (const std::string name : {"a", "\\u0061"}) {
    const q2l::Error error = safetensors_error(
        file_of("{\"a\":" + two_bytes + ",\"" + name + "\":" + second + "}", "abcd"));
    CHECK(error.code() == ErrorCode::duplicate_name);
    CHECK(error.place().subject == "a");
  }
  CHECK(safetensors_error(file_of("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}")).code() ==
        ErrorCode::duplicate_name);
  CHECK(safetensors_error(file_of("{\"__metadata__\":{},\"__metadata__\":{}}")).code() ==
        ErrorCode::duplicate_name);
}

TEST_CASE("Unknown element types are named", "[weights][safetensors][S12]") {
  for (const std::string& dtype :
       {std::string("F33"), "f32"s, "F8_E4M3"s, "F4"s, "C64"s, ""s, std::string(1000, 'F')}) {
    const q2l::Error error = error_of_tensor(dtype, "[8]", "[0,8]");
    CHECK(error.code() == ErrorCode::bad_dtype);
    CHECK(error.place().actual == dtype);
  }
  CHECK(safetensors_error(file_of("{\"t\":{\"dtype\":1,\"shape\":[],\"data_offsets\":[0,1]}}"))
            .code() == ErrorCode::bad_dtype);
  for (const std::string dtype : {"BOOL", "U8", "I8"})
    CHECK(q2l::parse_safetensors(
              bytes(file_of("{\"t\":" + entry(dtype, "[8]", "[0,8]") + "}", "01234567")))
              .tensors.size() == 1);
}

TEST_CASE("Metadata is a bounded object of strings", "[weights][safetensors][S13]") {
  for (const std::string value : {"1", "[]", "{\"a\":1}", "{\"a\":{}}", "null", two_bytes.c_str()})
    CHECK(safetensors_error(file_of("{\"__metadata__\":" + value + "}")).code() ==
          ErrorCode::bad_header);
  const std::string text = "{\"__metadata__\":{\"a\":\"12345\"}}";
  CHECK(safetensors_error(file_of(text), {.metadata_value_bytes = 4}).code() ==
        ErrorCode::limit_exceeded);
}

TEST_CASE("Empty, scalar, unsorted and unaligned tensors are fine", "[weights][safetensors][S14]") {
  const std::string file = file_of("{\"b\":" + entry("F32", "[1]", "[4,8]") +
                                       ",\"z\":" + entry("F32", "[0,3]", "[4,4]") +
                                       ",\"a\":" + entry("F32", "[]", "[0,4]") + "}  ",
                                   little_endian(0x3F800000u) + little_endian(0x40000000u));
  for (const std::string pad : {"", " ", "  ", "   "}) {
    std::string padded = pad + file;
    padded = file_of(file.substr(8, file.size() - 16) + pad, file.substr(file.size() - 8));
    const q2l::Safetensors read = q2l::parse_safetensors(bytes(padded));
    REQUIRE(read.tensors.size() == 3);
    CHECK(read.tensors[0].name == "a");
    CHECK(read.tensors[0].read<float>() == std::vector<float>{1});
    CHECK(read.tensors[1].read<float>().empty());
    CHECK(read.tensors[2].read<float>() == std::vector<float>{2});
  }
}

TEST_CASE("Odd names are kept but never empty, endless or cut by a NUL",
          "[weights][safetensors][S15]") {
  const auto named = [](const std::string& name) {
    return file_of("{\"" + name + "\":" + two_bytes + "}", "ab");
  };
  for (const std::string& name : {""s, "a\\u0000b"s, std::string(1'000'000, 'n')})
    CHECK(safetensors_error(named(name)).code() == ErrorCode::bad_header);
  const std::string odd = named("../../x\\u001b[31m\xE2\x80\xAE");
  CHECK(q2l::parse_safetensors(bytes(odd)).tensors[0].name == "../../x\x1b[31m\xE2\x80\xAE");
  const q2l::Error error =
      safetensors_error(file_of("{\"\\u001b[31m\":" + entry("F9", "[]", "[0,1]") + "}", "a"));
  CHECK(std::string(error.what()).find('\x1b') == std::string::npos);
}

TEST_CASE("Depth and number of tensors are bounded", "[weights][safetensors][S16][S17]") {
  const std::string deep = "{\"x\":" + std::string(1'000'000, '[') + "}";
  CHECK(safetensors_error(file_of(deep)).code() == ErrorCode::limit_exceeded);
  std::string many = "{";
  for (int i = 0; i < 5; ++i)
    many += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":" + entry("U8", "[0]", "[0,0]");
  CHECK(safetensors_error(file_of(many + "}"), {.tensors = 4}).code() == ErrorCode::limit_exceeded);
  CHECK(q2l::parse_safetensors(bytes(file_of(many + "}")), {.tensors = 5}).tensors.size() == 5);
  std::string long_list = "{\"x\":[0";
  for (int i = 0; i < 20'000; ++i) long_list += ",0";
  CHECK(safetensors_error(file_of(long_list + "]}")).code() == ErrorCode::limit_exceeded);
}
