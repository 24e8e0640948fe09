// SPDX-License-Identifier: MIT
#include <query2label/weights/tensor_entry.hpp>

#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/error_of.hpp"

namespace {

using q2l::Dtype;
using q2l::ErrorCode;
using q2l::TensorEntry;
using q2l::test::error_of;

/// A row-major tensor over `values`, `shift` bytes into `bytes` so that any alignment can be tried.
template <class Stored>
TensorEntry entry_of(Dtype dtype, const std::vector<Stored>& values, std::vector<std::byte>& bytes,
                     std::size_t shift = 0) {
  bytes.assign(shift + values.size() * sizeof(Stored), std::byte{0xFF});
  std::memcpy(bytes.data() + shift, values.data(), values.size() * sizeof(Stored));
  TensorEntry entry;
  entry.name = "t";
  entry.dtype = dtype;
  entry.shape = {values.size()};
  entry.strides = {1};
  entry.storage = std::span(bytes).subspan(shift);
  entry.file_offset = 1000;
  return entry;
}

/// What binary16 means, straight from its definition.
double half_value(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24)
                                         : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("All 63488 finite half precision numbers are read exactly, at any alignment",
          "[weights][tensor]") {
  std::vector<std::uint16_t> stored;
  std::vector<double> expected;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7C00) == 0x7C00) continue;
    stored.push_back(static_cast<std::uint16_t>(bits));
    expected.push_back(half_value(static_cast<std::uint16_t>(bits)));
  }
  std::vector<std::byte> bytes;
  const TensorEntry entry = entry_of(Dtype::f16, stored, bytes, 1);
  CHECK(entry.read<double>() == expected);
  CHECK(std::signbit(entry.read<float>()[0x8000 - 1024]));  // minus zero follows 31744 numbers
}

TEST_CASE("Each element type is converted with one rounding", "[weights][tensor]") {
  std::vector<std::byte> bytes;
  const std::vector<std::uint16_t> bf16{0x3F80, 0xC049, 0x0001};
  CHECK(entry_of(Dtype::bf16, bf16, bytes).read<double>() ==
        std::vector<double>{1.0, -3.140625, std::ldexp(1.0, -133)});
  const std::vector<double> doubles{0.1, 1.0 + std::ldexp(1.0, -24), -1e300};
  CHECK(entry_of(Dtype::f64, doubles, bytes, 3).read<double>() == doubles);
  const std::vector<double> small{0.1, 1.0 + std::ldexp(1.5, -24), -1e30};
  CHECK(entry_of(Dtype::f64, small, bytes).read<float>() ==
        std::vector<float>{0.1f, 1.0f + std::ldexp(1.0f, -23), -1e30f});
  const std::vector<float> floats{1.5f, -0.0f, 1e-40f, 3e38f};
  for (const std::size_t shift : {0u, 1u, 2u, 3u}) {
    const auto read = entry_of(Dtype::f32, floats, bytes, shift).read<float>();
    CHECK(std::memcmp(read.data(), floats.data(), sizeof(float) * 4) == 0);
  }
  const std::vector<std::int64_t> longs{(std::int64_t{1} << 53) + 1, -7};
  CHECK(entry_of(Dtype::i64, longs, bytes).read<float>() == std::vector<float>{0x1p53f, -7.0f});
  CHECK(entry_of(Dtype::i32, std::vector<std::int32_t>{-3}, bytes).read<float>()[0] == -3);
  CHECK(entry_of(Dtype::i16, std::vector<std::int16_t>{-3}, bytes).read<float>()[0] == -3);
  CHECK(entry_of(Dtype::i8, std::vector<std::int8_t>{-3}, bytes).read<float>()[0] == -3);
  CHECK(entry_of(Dtype::u8, std::vector<std::uint8_t>{200}, bytes).read<float>()[0] == 200);
  CHECK(entry_of(Dtype::boolean, std::vector<std::uint8_t>{1}, bytes).read<float>()[0] == 1);
}

TEST_CASE("NaN and infinity are found anywhere and named", "[weights][tensor][N1]") {
  constexpr std::size_t count = 9000;  // more than two blocks
  std::vector<std::byte> bytes;
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY})
    for (const std::size_t at : {0ul, 1ul, 4095ul, 4096ul, 8191ul, 8999ul}) {
      std::vector<float> values(count, 1.0f);
      values[at] = bad;
      values.back() = at == 4095 ? NAN : values.back();  // the first of two is named
      const TensorEntry entry = entry_of(Dtype::f32, values, bytes);
      const q2l::Error error = error_of([&] { (void)entry.read<float>(); });
      CHECK(error.code() == ErrorCode::non_finite);
      CHECK(error.place().subject == "t");
      CHECK(error.place().offset == 1000 + 4 * at);
      CHECK(error.place().actual == "element " + std::to_string(at));
      CHECK(error_of([&] { (void)entry.read<double>(); }).place().offset == 1000 + 4 * at);
    }
  const std::vector<std::pair<Dtype, std::uint16_t>> short_types{
      {Dtype::f16, std::uint16_t{0x7C00}}, {Dtype::f16, std::uint16_t{0xFE00}},
      {Dtype::bf16, std::uint16_t{0xFF80}}, {Dtype::bf16, std::uint16_t{0x7FC0}}};
  for (const auto& [dtype, bits] : short_types) {
    const std::vector<std::uint16_t> values{0, bits};
    const TensorEntry entry = entry_of(dtype, values, bytes);
    CHECK(error_of([&] { (void)entry.read<float>(); }).place().offset == 1002u);
  }
}

TEST_CASE("A double beyond float is an error and not an infinity", "[weights][tensor][N2]") {
  std::vector<std::byte> bytes;
  const TensorEntry entry = entry_of(Dtype::f64, std::vector<double>{1.0, 1e39}, bytes);
  CHECK(entry.read<double>()[1] == 1e39);
  const q2l::Error error = error_of([&] { (void)entry.read<float>(); });
  CHECK(error.code() == ErrorCode::non_finite);
  CHECK(error.place().offset == 1008u);
}

TEST_CASE("Any strides give the row-major elements", "[weights][tensor][P18]") {
  std::vector<float> values(240);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  std::vector<std::byte> bytes;
  TensorEntry entry = entry_of(Dtype::f32, values, bytes);
  const std::vector<std::pair<std::vector<std::uint64_t>, std::vector<std::uint64_t>>> layouts{
      {{}, {}},
      {{1, 1}, {999, 999}},
      {{5, 6, 7}, {42, 7, 1}},
      {{5, 6, 7}, {1, 5, 30}},
      {{5, 1, 6, 1, 7}, {42, 1000, 7, 3, 1}},
      {{3, 4}, {0, 2}},
      {{3, 4}, {60, 20}},
      {{2, 3, 4}, {100, 4, 1}},
      {{4, 1, 3}, {1, 9, 8}},
      {{2, 0, 3}, {1, 1, 1}},
  };
  for (const auto& [shape, strides] : layouts) {
    entry.shape = shape;
    entry.strides = strides;
    entry.storage_offset = 5;
    entry.require_valid({});
    std::vector<float> expected;
    for (std::uint64_t flat = 0; flat < entry.element_count(); ++flat) {
      std::uint64_t rest = flat;
      std::uint64_t at = 5;
      for (std::size_t d = shape.size(); d-- > 0; rest /= shape[d])
        at += (rest % shape[d]) * strides[d];
      expected.push_back(static_cast<float>(at));
    }
    CAPTURE(q2l::shape_text(shape), q2l::shape_text(strides));
    CHECK(entry.read<float>() == expected);
  }
}

TEST_CASE("A destination of another size is refused", "[weights][tensor]") {
  std::vector<std::byte> bytes;
  const TensorEntry entry = entry_of(Dtype::f32, std::vector<float>{1, 2}, bytes);
  std::vector<float> out(3);
  CHECK(error_of([&] { entry.read_into(std::span<float>(out)); }).code() ==
        ErrorCode::bad_argument);
}
