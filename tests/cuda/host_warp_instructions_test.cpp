// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <query2label/cuda/warp_instructions.cuh>
#include <query2label/weights/element_conversion.hpp>
#include <type_traits>
#include <vector>

// The emulated instructions against the tables of the PTX ISA (sections "Matrix Fragments for
// mma.m16n8k16 / mma.m16n8k8" and "ldmatrix"), which are copied here and not taken from the code.

using namespace q2l::cuda;

namespace {

struct Place {
  int row, column;
};

/// Element `i` of a lane in A, B and C, as the tables give them; `Bits` of an element are 16 or 32.
template <int Bits>
Place place_in_a(int lane, int i) {
  const int group = lane >> 2, thread = lane % 4;
  if (Bits == 32) return {i == 0 || i == 2 ? group : group + 8, i < 2 ? thread : thread + 4};
  const bool is_upper = i < 2 || (4 <= i && i < 6);
  return {is_upper ? group : group + 8, thread * 2 + (i & 1) + (i < 4 ? 0 : 8)};
}
template <int Bits>
Place place_in_b(int lane, int i) {
  const int group = lane >> 2, thread = lane % 4;
  if (Bits == 32) return {i == 0 ? thread : thread + 4, group};
  return {thread * 2 + (i & 1) + (i < 2 ? 0 : 8), group};
}
Place place_in_c(int lane, int i) {
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

/// Writes element `i` of a lane: two 16-bit elements to a register, the first in the lower half.
template <class Arithmetic>
void put(Fragment& fragment, int lane, int first_register, int i, float value) {
  if constexpr (sizeof(typename Arithmetic::Storage) == 4) {
    fragment.at(lane, first_register + i) = bits_of(value);
  } else {
    std::uint32_t& word = fragment.at(lane, first_register + i / 2);
    word |= std::uint32_t{Arithmetic::encode(value)} << 16 * (i % 2);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("The emulated warp product has the layouts of PTX's mma", "[cuda]",
                   F16Arithmetic, Bf16Arithmetic, Tf32Arithmetic) {
  constexpr int bits = 8 * static_cast<int>(sizeof(typename TestType::Storage));
  constexpr int depth = 256 / bits;
  // Small whole numbers: every sum is exact. No two rows or columns are alike.
  const auto a = [](int r, int k) {
    return static_cast<float>((r * 37 + k * 11 + r * k) % 15 - 7);
  };
  const auto b = [](int k, int c) { return static_cast<float>((k * 29 + c * 7 + k * c) % 13 - 6); };
  for (const int b_first : {0, 2}) {
    Fragment x{}, y{};
    struct Sums {
      float values[8];
    };
    PerLane<Sums> sums{};
    for (int lane = 0; lane < warp_lanes; ++lane) {
      for (int i = 0; i < 128 / bits; ++i) {
        const Place p = place_in_a<bits>(lane, i);
        put<TestType>(x, lane, 0, i, a(p.row, p.column));
      }
      for (int i = 0; i < 64 / bits; ++i) {
        const Place p = place_in_b<bits>(lane, i);
        put<TestType>(y, lane, b_first, i, b(p.row, p.column));
      }
      for (int i = 0; i < 8; ++i) sums[lane].values[i] = static_cast<float>(i);
    }
    multiply_fragments<TestType>(x, y, b_first, sums, 4);
    for (int lane = 0; lane < warp_lanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const Place p = place_in_c(lane, i);
        float expected = static_cast<float>(4 + i);
        for (int k = 0; k < depth; ++k) expected += a(p.row, k) * b(k, p.column);
        CHECK(sums[lane].values[i] == static_cast<float>(i));
        CHECK(sums[lane].values[4 + i] == expected);
      }
    }
  }
}

TEST_CASE("The emulated matrix loads have the layouts of PTX's ldmatrix", "[cuda]") {
  std::uint16_t matrices[4][8][8];
  PerLane<const void*> rows;
  for (int m = 0; m < 4; ++m) {
    for (int r = 0; r < 8; ++r) {
      for (int c = 0; c < 8; ++c) {
        matrices[m][r][c] = static_cast<std::uint16_t>(m * 1000 + r * 10 + c);
      }
      rows[m * 8 + r] = matrices[m][r];
    }
  }
  const Fragment plain = load_matrices<false>(rows), transposed = load_matrices<true>(rows);
  for (int lane = 0; lane < warp_lanes; ++lane) {
    const int line = lane / 4, first = lane % 4 * 2;
    for (int m = 0; m < 4; ++m) {
      CHECK((plain.at(lane, m) & 0xFFFFu) == matrices[m][line][first]);
      CHECK(plain.at(lane, m) >> 16 == matrices[m][line][first + 1]);
      CHECK((transposed.at(lane, m) & 0xFFFFu) == matrices[m][first][line]);
      CHECK(transposed.at(lane, m) >> 16 == matrices[m][first + 1][line]);
    }
  }
}

TEMPLATE_TEST_CASE("16-bit numbers are rounded to nearest, ties to even", "[cuda]", F16Arithmetic,
                   Bf16Arithmetic) {
  constexpr bool is_half = std::is_same_v<TestType, F16Arithmetic>;
  constexpr unsigned infinity = is_half ? 0x7C00 : 0x7F80;
  bool is_right = true;
  for (unsigned i = 0; i < infinity; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const auto negative = static_cast<std::uint16_t>(0x8000u | i);
    const float value = TestType::decode(bits);
    if (is_half) is_right = is_right && value == static_cast<float>(q2l::detail::HalfBits{bits});
    is_right = is_right && TestType::encode(value) == bits && TestType::encode(-value) == negative;
    if (i + 1 == infinity) continue;
    const float middle = value / 2.0f + TestType::decode(static_cast<std::uint16_t>(i + 1)) / 2.0f;
    is_right = is_right && TestType::encode(middle) == i + i % 2 &&
               TestType::encode(std::nextafter(middle, 0.0f)) == i &&
               TestType::encode(std::nextafter(middle, INFINITY)) == i + 1;
    if (!is_right) {
      FAIL_CHECK("bits " << i);
      break;
    }
  }
  constexpr float largest = std::numeric_limits<float>::max();
  CHECK(TestType::encode(largest) == infinity);
  CHECK(TestType::encode(-std::numeric_limits<float>::infinity()) == (infinity | 0x8000u));
  CHECK(std::isinf(TestType::decode(infinity)));
  CHECK(std::isnan(TestType::decode(TestType::encode(NAN))));
}

TEST_CASE("tf32 is rounded to nearest, ties away from zero", "[cuda]") {
  const auto rounded = [](float value) { return float_of(tf32_bits(bits_of(value))); };
  for (const float sign : {1.0f, -1.0f}) {
    CHECK(rounded(sign * (1.0f + 0x1p-11f)) == sign * (1.0f + 0x1p-10f));
    CHECK(rounded(sign * (1.0f + 0x1p-11f - 0x1p-23f)) == sign * 1.0f);
    CHECK(rounded(sign * (1.0f + 0x3p-11f)) == sign * (1.0f + 0x2p-10f));
    CHECK(rounded(sign * INFINITY) == sign * INFINITY);
  }
  CHECK(std::isnan(rounded(NAN)));
}
