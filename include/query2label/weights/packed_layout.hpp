// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l {

/// What a packed model file and the program that maps it must agree in.
///
/// A packed model file is a safetensors file whose tensors are the buffers of a loaded model, by
/// `BufferVisitor`'s paths and in its order, each one-dimensional and padded with zeros to whole
/// cache lines. Beside what a plain model file says, its metadata hold `packed`, this layout as
/// JSON; `tensors`, the names and shapes of the plain file's tensors, from which the model is laid
/// out; and `crc32`, of all buffers in hexadecimal.
struct PackedLayout {
  /// To be raised with any change of what buffers hold, how many there are, or their names.
  static constexpr std::uint64_t current_version = 3;

  std::uint64_t version = current_version;
  std::string instruction_set;       ///< for people: what counts are the widths
  std::uint64_t lanes = 0;           ///< elements of a vector
  std::uint64_t tile_vectors = 0;    ///< most vectors of a panel
  std::uint64_t narrow_vectors = 0;  ///< most vectors of a panel of bf16 or int8
  std::uint64_t int8_group = 0;      ///< neighbours in depth that int8 panels keep together
  std::int64_t int8_offset = 0;      ///< what is taken off int8 left operands of zero point 1

  /// The layout that a program for T and Arch maps.
  template <class T, class Arch>
  [[nodiscard]] static PackedLayout of() {
    using Tile = kernels::MatmulTile<T, Arch>;
    using Dot = simd::DotProduct<float, std::int8_t, Arch>;
    return {current_version,
            Arch::name(),
            Tile::lanes,
            Tile::vectors,
            kernels::narrow_panel_vectors<T, Arch>,
            Dot::group,
            Dot::left_offset(1)};
  }

  [[nodiscard]] bool fits(const PackedLayout& other) const noexcept {
    return version == other.version && lanes == other.lanes && tile_vectors == other.tile_vectors &&
           narrow_vectors == other.narrow_vectors && int8_group == other.int8_group &&
           int8_offset == other.int8_offset;
  }
  /// In words, for example
  /// "fma3+avx2 (8 lanes, panels of 2 vectors, narrow of 2, int8 by 4 less 0, version 3)".
  [[nodiscard]] std::string describe() const {
    return instruction_set + " (" + std::to_string(lanes) + " lanes, panels of " +
           std::to_string(tile_vectors) + " vectors, narrow of " + std::to_string(narrow_vectors) +
           ", int8 by " + std::to_string(int8_group) + " less " + std::to_string(int8_offset) +
           ", version " + std::to_string(version) + ")";
  }
};

}  // namespace q2l
