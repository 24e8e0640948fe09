// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::ops {

/// The right operand of a product as it lies in a checkpoint: the element of tap t, depth k, column
/// n is `data[t * tap_stride + k * depth_stride + n * column_stride] * scale[n]`.
template <class Source>
struct ProductSource {
  const Source* data;
  std::size_t tap_stride, depth_stride, column_stride;
  std::span<const double> scale = {};  ///< per column; 1 where empty

  [[nodiscard]] double scale_of(std::size_t n) const noexcept {
    return scale.empty() ? 1.0 : scale[n];
  }
};

/// The weights and bias of a product, packed at load in the precision they are multiplied in, and
/// never changed after.
///
/// Narrow weights are those of the checkpoint, rounded once; a column's scale (a folded norm, and
/// for int8 what makes its largest weight 127) multiplies its sums.
template <class T, class Arch>
class PackedWeights {
 public:
  using Layout = kernels::PanelLayout<T, Arch>;

  PackedWeights() = default;

  /// `bias` has `layout.columns` elements or none. Products that a narrower precision cannot do
  /// (see `precision_of`) stay in f32.
  template <class Source, class Bias>
  PackedWeights(const Layout& layout, const ProductSource<Source>& source,
                std::span<const Bias> bias, const ProductSettings& settings = {})
      : layout_(layout), precision_(precision_of(layout, settings.precision)) {
    if (!bias.empty()) {
      bias_ = zeros<T>(layout.padded_columns());
      std::transform(bias.begin(), bias.end(), bias_.data(),
                     [](Bias value) { return static_cast<T>(value); });
    }
    if (precision_ == Precision::int8) input_ = settings.input;
    if constexpr (std::is_same_v<T, float>) {
      if (precision_ == Precision::bf16) pack_bfloat16(source);
      if (precision_ == Precision::int8) pack_int8(source);
      if (precision_ == Precision::f32) pack_plain(source);
    } else {
      pack_rounded(source);
    }
  }

  /// What `wanted` comes to for a product of this layout: f32 for depths that are no multiple of 4
  /// (pictures), and for int8 where a sum might not fit into 32 bits.
  [[nodiscard]] static constexpr Precision precision_of(const Layout& layout,
                                                        Precision wanted) noexcept {
    if (layout.depth % 4 != 0) return Precision::f32;
    if (wanted == Precision::int8 && layout.rows() > simd::int8_largest_depth) {
      return Precision::f32;
    }
    return wanted;
  }

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] Precision precision() const noexcept { return precision_; }
  [[nodiscard]] bool empty() const noexcept { return layout_.size() == 0; }
  /// `padded_columns` elements, or null.
  [[nodiscard]] const T* bias() const noexcept { return bias_.data(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return (panels_.size() + scale_.size() + bias_.size()) * sizeof(T) +
           bfloat16_panels_.size() * sizeof(bfloat16) + int8_panels_.size() +
           correction_.size() * sizeof(std::int32_t);
  }

  /// Calls `body` with the panels as a kernels::PanelMatrix of their element type.
  template <class Body>
  void visit(Body&& body) const {
    if constexpr (std::is_same_v<T, float>) {
      if (precision_ == Precision::bf16) {
        return body(kernels::PanelMatrix<T, Arch, bfloat16>{layout_, bfloat16_panels_.data(),
                                                            scale_.data()});
      }
      if (precision_ == Precision::int8) {
        return body(kernels::PanelMatrix<T, Arch, std::int8_t>{
            layout_, int8_panels_.data(), scale_.data(), correction_.data(), input_});
      }
    }
    body(kernels::PanelMatrix<T, Arch>{layout_, panels_.data(), nullptr, nullptr, input_,
                                       precision_});
  }

 private:
  template <class Element>
  static AlignedBuffer<Element> zeros(std::size_t count) {
    AlignedBuffer<Element> out(count);
    std::fill_n(out.data(), count, Element{});
    return out;
  }

  template <class Source, class W, class Convert>
  void pack(const ProductSource<Source>& source, AlignedBuffer<W>& panels, const Convert& convert) {
    kernels::pack_panels<T, Arch, W>(layout_, source.data, source.tap_stride, source.depth_stride,
                                     source.column_stride, convert, panels.data(), 0,
                                     layout_.panels());
  }

  template <class Source>
  void pack_plain(const ProductSource<Source>& source) {
    panels_ = AlignedBuffer<T>(layout_.size());
    pack(source, panels_, [&](Source value, std::size_t n) {
      return source.scale.empty() ? static_cast<T>(value)
                                  : static_cast<T>(static_cast<double>(value) * source.scale[n]);
    });
  }

  template <class Source>
  void pack_bfloat16(const ProductSource<Source>& source) {
    bfloat16_panels_ = AlignedBuffer<bfloat16>(layout_.size());
    scale_ = zeros<T>(layout_.padded_columns());
    for (std::size_t n = 0; n < layout_.columns; ++n) {
      scale_[n] = static_cast<T>(source.scale_of(n));
    }
    pack(source, bfloat16_panels_,
         [](Source value, std::size_t) { return to_bfloat16(static_cast<float>(value)); });
  }

  /// What each column's weights are divided by to become -127 .. 127.
  template <class Source>
  [[nodiscard]] std::vector<double> int8_steps(const ProductSource<Source>& source) const {
    std::vector<double> steps(layout_.columns);
    for (std::size_t n = 0; n < layout_.columns; ++n) {
      double largest = 0;
      for (std::size_t t = 0; t < layout_.taps; ++t) {
        const Source* in = source.data + t * source.tap_stride + n * source.column_stride;
        for (std::size_t k = 0; k < layout_.depth; ++k) {
          largest = std::max(largest, std::abs(static_cast<double>(in[k * source.depth_stride])));
        }
      }
      steps[n] = largest > 0 ? largest / 127 : 1;
    }
    return steps;
  }

  /// In double: the weights as narrow panels would hold them, times their scale.
  template <class Source>
  void pack_rounded(const ProductSource<Source>& source) {
    const std::vector<double> steps =
        precision_ == Precision::int8 ? int8_steps(source) : std::vector<double>();
    panels_ = AlignedBuffer<T>(layout_.size());
    pack(source, panels_, [&](Source value, std::size_t n) {
      auto rounded = static_cast<double>(value);
      if (precision_ == Precision::bf16) {
        rounded = static_cast<double>(to_bfloat16(static_cast<float>(value)));
      } else if (precision_ == Precision::int8) {
        rounded = steps[n] * std::nearbyint(rounded / steps[n]);
      }
      return source.scale_of(n) * rounded;
    });
  }

  template <class Source>
  void pack_int8(const ProductSource<Source>& source) {
    using Dot = simd::DotProduct<T, std::int8_t, Arch>;
    const std::vector<double> steps = int8_steps(source);
    int8_panels_ = AlignedBuffer<std::int8_t>(layout_.size());
    scale_ = zeros<T>(layout_.padded_columns());
    for (std::size_t n = 0; n < layout_.columns; ++n) {
      scale_[n] = static_cast<T>(steps[n] * static_cast<double>(input_.scale) * source.scale_of(n));
    }
    pack(source, int8_panels_, [&](Source value, std::size_t n) {
      return static_cast<std::int8_t>(std::nearbyint(static_cast<double>(value) / steps[n]));
    });
    const std::int32_t held = input_.zero_point - Dot::left_offset(input_.zero_point);
    if (held != 0) correct_for(held);
  }

  /// Left operands hold `held` too much: what is to be taken off the sums of each chunk.
  void correct_for(std::int32_t held) {
    constexpr std::size_t lanes = kernels::MatmulTile<T, Arch>::lanes;
    constexpr std::size_t group = simd::DotProduct<T, std::int8_t, Arch>::group;
    const std::size_t padded = layout_.padded_columns();
    std::size_t chunks = 0;
    kernels::for_each_depth_chunk<std::int8_t>(layout_.taps, layout_.depth,
                                               [&](const auto&) { ++chunks; });
    correction_ = zeros<std::int32_t>(chunks * padded);
    std::int32_t* out = correction_.data();
    kernels::for_each_depth_chunk<std::int8_t>(
        layout_.taps, layout_.depth, [&](const kernels::DepthChunk& chunk) {
          const std::size_t first = chunk.first_tap * layout_.depth + chunk.first_depth;
          for (std::size_t p = 0; p < layout_.panels(); ++p) {
            const std::size_t column = layout_.first_vector(p) * lanes;
            const std::size_t width = layout_.first_vector(p + 1) * lanes - column;
            const std::int8_t* w = int8_panels_.data() + column * layout_.rows() + first * width;
            for (std::size_t i = 0; i < chunk.taps * chunk.depth * width; ++i) {
              out[column + i / group % width] -= held * w[i];
            }
          }
          out += padded;
        });
  }

  Layout layout_;
  Precision precision_ = Precision::f32;
  AlignedBuffer<T> panels_;  ///< one of the three, by `precision_`
  AlignedBuffer<bfloat16> bfloat16_panels_;
  AlignedBuffer<std::int8_t> int8_panels_;
  AlignedBuffer<T> scale_;                  ///< of narrow panels
  AlignedBuffer<std::int32_t> correction_;  ///< of int8 panels, where needed
  Quantization input_;
  AlignedBuffer<T> bias_;
};

}  // namespace q2l::ops
