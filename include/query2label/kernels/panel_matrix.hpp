// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "query2label/core/bfloat16.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::kernels {

/// The register tile of a product: `rows` rows times `vectors` vectors of accumulators, with room
/// left for one row of the panel and one broadcast element. Six rows keep at least twelve
/// independent multiply-adds in flight (4 cycles of latency, 2 a cycle) and touch only six lines of
/// an 8-way cache set even where rows lie a multiple of 4 KiB apart.
template <class T, class Arch>
struct MatmulTile {
  static constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  static constexpr std::size_t rows = 6;
  static constexpr std::size_t vectors = simd::register_count<Arch> == 32 ? 4 : 2;
};

/// How the right operand B[taps * depth, columns] of a product is cut into panels. A panel is
/// 1..`most_vectors` vectors wide, runs over the whole of taps * depth, and is contiguous: the
/// product reads it from front to back. Widths are spread evenly: 5 vectors are 3 + 2, never 4 + 1.
template <class T, class Arch>
struct PanelLayout {
  using Tile = MatmulTile<T, Arch>;

  std::size_t taps = 0;                      ///< 1, or the kernel positions of a convolution
  std::size_t depth = 0;                     ///< elements summed per tap
  std::size_t columns = 0;                   ///< results
  std::size_t most_vectors = Tile::vectors;  ///< of a panel; a power of two

  [[nodiscard]] constexpr std::size_t rows() const noexcept { return taps * depth; }
  [[nodiscard]] constexpr std::size_t vectors() const noexcept {
    return (columns + Tile::lanes - 1) / Tile::lanes;
  }
  [[nodiscard]] constexpr std::size_t padded_columns() const noexcept {
    return vectors() * Tile::lanes;
  }
  [[nodiscard]] constexpr std::size_t panels() const noexcept {
    return (vectors() + most_vectors - 1) >> std::countr_zero(most_vectors);
  }
  /// First vector of panel `p`; `first_vector(panels())` is the end.
  [[nodiscard]] constexpr std::size_t first_vector(std::size_t p) const noexcept {
    const std::size_t count = std::max<std::size_t>(1, panels());
    const std::size_t narrow = vectors() / count;
    const std::size_t wide_panels = vectors() % count;
    return p * narrow + std::min(p, wide_panels);
  }
  [[nodiscard]] constexpr std::size_t first_column(std::size_t p) const noexcept {
    return first_vector(p) * Tile::lanes;
  }
  /// Where element (k, n) of `W`s stands in a panel `width` columns wide, or in the part of one
  /// that begins with a group of depth.
  template <class W>
  [[nodiscard]] static constexpr std::size_t place(std::size_t k, std::size_t n,
                                                   std::size_t width) noexcept {
    constexpr std::size_t group = simd::DotProduct<T, W, Arch>::group;
    return (k / group * width + n) * group + k % group;
  }
  /// Elements the panels take together.
  [[nodiscard]] constexpr std::size_t size() const noexcept { return rows() * padded_columns(); }
};

/// A packed right operand somewhere in memory, its elements of type `W`: `T`, or a narrower type
/// for which each column has a scale. Every `group` neighbours in depth of a column stand together
/// (see simd/dot_product.hpp), so the depth is a multiple of it.
template <class T, class Arch, class W = T>
struct PanelMatrix {
  PanelLayout<T, Arch> layout;
  const W* data = nullptr;   ///< layout.size() elements
  const T* scale = nullptr;  ///< padded_columns factors of the sums; only where W is narrower
  /// int8: what each chunk of depth adds to the sums of each column, [chunks][padded_columns], for
  /// the part of the zero point that left operands still hold; null if they hold none.
  const std::int32_t* correction = nullptr;
  Quantization input = {};              ///< int8: of the left operand
  Precision rounding = Precision::f32;  ///< of a double product: the reference of narrow ones

  /// What left operands are rounded to.
  [[nodiscard]] constexpr Precision precision() const noexcept {
    if (std::is_same_v<W, bfloat16>) return Precision::bf16;
    return std::is_same_v<W, std::int8_t> ? Precision::int8 : rounding;
  }
  [[nodiscard]] const W* panel(std::size_t p) const noexcept {
    return data + layout.first_column(p) * layout.rows();
  }
};

/// A right operand as it lies before packing: B's element of tap t, depth k, column n is
/// `data[t * tap_stride + k * depth_stride + n * column_stride]`, times `scale[n]` if there is one.
template <class Source>
struct PanelSource {
  const Source* data = nullptr;
  std::size_t tap_stride = 0;
  std::size_t depth_stride = 0;
  std::size_t column_stride = 0;
  const double* scale = nullptr;

  [[nodiscard]] double scale_of(std::size_t n) const noexcept {
    return scale != nullptr ? scale[n] : 1.0;
  }
};

/// Packs B into `target` (layout.size() elements) as `convert(element, column)`, which sees
/// elements before their scale. Columns that pad the last vector are zero. Only panels
/// `first_panel` .. `last_panel` - 1, so that threads can share the work.
template <class T, class Arch, class W, class Source, class Convert>
void pack_panels(const PanelLayout<T, Arch>& layout, const PanelSource<Source>& source,
                 const Convert& convert, W* target, std::size_t first_panel,
                 std::size_t last_panel) noexcept {
  constexpr std::size_t block = 16;  // in depth: whole cache lines of a column are used at once
  for (std::size_t p = first_panel; p < last_panel; ++p) {
    const std::size_t begin = layout.first_column(p);
    const std::size_t width = layout.first_column(p + 1) - begin;
    const std::size_t valid = std::min(width, layout.columns - begin);
    W* out = target + begin * layout.rows();
    for (std::size_t t = 0; t < layout.taps; ++t) {
      const Source* in = source.data + t * source.tap_stride + begin * source.column_stride;
      for (std::size_t k = 0; k < layout.depth; k += block) {
        const std::size_t rows = std::min(block, layout.depth - k);
        const auto place = [&](std::size_t i, std::size_t n) -> W& {
          return out[PanelLayout<T, Arch>::template place<W>(i, n, width)];
        };
        const auto pack = [&](std::size_t i, std::size_t n) {
          place(i, n) =
              convert(in[(k + i) * source.depth_stride + n * source.column_stride], begin + n);
        };
        if (source.depth_stride < source.column_stride) {
          for (std::size_t n = 0; n < valid; ++n) {
            for (std::size_t i = 0; i < rows; ++i) pack(i, n);
          }
        } else {
          for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t n = 0; n < valid; ++n) pack(i, n);
          }
        }
        for (std::size_t i = 0; i < rows; ++i) {
          for (std::size_t n = valid; n < width; ++n) place(i, n) = W{};
        }
        out += rows * width;
      }
    }
  }
}

/// The same for a right operand of the type it is computed in, scaled.
template <class T, class Arch, class Source>
void pack_panels(const PanelLayout<T, Arch>& layout, const PanelSource<Source>& source, T* target,
                 std::size_t first_panel, std::size_t last_panel) noexcept {
  pack_panels<T, Arch, T>(
      layout, source,
      [&](Source value, std::size_t n) {
        return source.scale != nullptr
                   ? static_cast<T>(source.scale[n] * static_cast<double>(value))
                   : static_cast<T>(value);
      },
      target, first_panel, last_panel);
}

}  // namespace q2l::kernels
