// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <query2label/core/bfloat16.hpp>
#include <query2label/simd/amx_tiles.hpp>
#include <type_traits>

namespace q2l::test {

/// What simd::AmxTiles does, on any processor.
template <class W>
class EmulatedTiles {
 public:
  using Left = std::conditional_t<std::is_same_v<W, std::int8_t>, std::uint8_t, bfloat16>;
  using Sum = std::conditional_t<std::is_same_v<W, std::int8_t>, std::int32_t, float>;

  void zero_sums() noexcept { sums_ = {}; }
  void load_left_0(const Left* p, std::size_t stride) noexcept { load(left_[0], p, stride); }
  void load_left_1(const Left* p, std::size_t stride) noexcept { load(left_[1], p, stride); }
  void load_right_0(const W* p, std::size_t stride) noexcept { load(right_[0], p, stride); }
  void load_right_1(const W* p, std::size_t stride) noexcept { load(right_[1], p, stride); }
  void add_00() noexcept { add(0, 0); }
  void add_01() noexcept { add(0, 1); }
  void add_10() noexcept { add(1, 0); }
  void add_11() noexcept { add(1, 1); }
  void store_sums(Sum* out) noexcept { std::memcpy(out, sums_.data(), sizeof sums_); }

 private:
  static constexpr std::size_t side = simd::tile_rows;
  static constexpr std::size_t group = 4 / sizeof(W);
  template <class Element>
  using Tile = std::array<std::array<Element, simd::tile_bytes / sizeof(Element)>, side>;

  template <class Element>
  static void load(Tile<Element>& tile, const Element* p, std::size_t stride) noexcept {
    for (std::size_t r = 0; r < side; ++r) {
      std::memcpy(tile[r].data(), reinterpret_cast<const std::byte*>(p) + r * stride,
                  simd::tile_bytes);
    }
  }
  void add(std::size_t i, std::size_t j) noexcept {
    for (std::size_t r = 0; r < side; ++r) {
      for (std::size_t k = 0; k < side; ++k) {
        for (std::size_t e = 0; e < group; ++e) {
          const auto left = static_cast<Sum>(left_[i][r][k * group + e]);
          for (std::size_t c = 0; c < side; ++c) {
            sums_[i * side + r][j * side + c] +=
                left * static_cast<Sum>(right_[j][k][c * group + e]);
          }
        }
      }
    }
  }

  std::array<std::array<Sum, 2 * side>, 2 * side> sums_{};
  Tile<Left> left_[2] = {};
  Tile<W> right_[2] = {};
};

}  // namespace q2l::test
