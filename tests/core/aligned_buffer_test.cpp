// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <query2label/core/aligned_buffer.hpp>
#include <utility>

using q2l::AlignedBuffer;

TEST_CASE("Rounding up gives the next multiple, also of steps that are no power of two", "[core]") {
  CHECK(q2l::round_up(0, 64) == 0);
  CHECK(q2l::round_up(1, 64) == 64);
  CHECK(q2l::round_up(64, 64) == 64);
  CHECK(q2l::round_up(65, 64) == 128);
  CHECK(q2l::round_up(10, 6) == 12);
}

TEST_CASE("A buffer of any size begins on a cache line and can be written to its last element",
          "[core]") {
  for (const std::size_t count :
       {1u, 15u, 16u, 17u, 1000u, (2u << 20) / 4 - 1, (2u << 20) / 4 + 1}) {
    CAPTURE(count);
    AlignedBuffer<float> buffer(count);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % q2l::cache_line == 0);
    CHECK(buffer.size() == count);
    CHECK(buffer.span().size() == count);
    buffer[0] = 1.0f;
    buffer[count - 1] = 2.0f;
    CHECK(std::as_const(buffer).span().back() == 2.0f);
  }
}

TEST_CASE("A buffer of two megabytes or more begins on a huge page", "[core]") {
  const AlignedBuffer<std::byte> buffer(std::size_t{2} << 20);
  CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % (std::size_t{2} << 20) == 0);
}

TEST_CASE("An empty buffer owns nothing, and a moved one leaves its memory to the other",
          "[core]") {
  CHECK(AlignedBuffer<int>().data() == nullptr);
  CHECK(AlignedBuffer<int>(0).data() == nullptr);
  AlignedBuffer<int> from(3);
  from[2] = 7;
  const int* const memory = from.data();
  AlignedBuffer<int> to = std::move(from);
  CHECK(to.data() == memory);
  CHECK(to.size() == 3);
  CHECK(to[2] == 7);
  CHECK(from.span().empty());
  from = std::move(to);
  CHECK(from.data() == memory);
  CHECK(from.size() == 3);
  CHECK(to.span().empty());
}

TEST_CASE("A buffer whose size in bytes would wrap is refused", "[core]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t count : {most, most / 4, most / 4 - 1}) {
    CHECK_THROWS_AS(AlignedBuffer<float>(count), std::bad_alloc);
  }
}
