// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::ops {

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
  /// (see `precision_of`) stay in f32. Where the source has no data, the buffers are laid out and
  /// left to come.
  template <class Source, class Bias>
  PackedWeights(const Layout& layout, const kernels::PanelSource<Source>& source,
                const SharedBuffer<Bias>& bias, const Threads& threads = {},
                const ProductSettings& settings = {})
      : layout_(layout), precision_(precision_of(layout, settings.precision)) {
    if (precision_ == Precision::int8) input_ = settings.input;
    lay_out(!bias.empty());
    if (source.data == nullptr && layout.size() > 0) return;
    if (!bias.empty() && bias.is_known()) {
      AlignedBuffer<T> padded = zeros<T>(bias_.size());
      std::transform(bias.begin(), bias.end(), padded.data(),
                     [](Bias value) { return static_cast<T>(value); });
      bias_ = std::move(padded);
    }
    if constexpr (std::is_same_v<T, float>) {
      if (precision_ == Precision::bf16) pack_bfloat16(source, threads);
      if (precision_ == Precision::int8) pack_int8(source, threads);
      if (precision_ == Precision::f32) pack_plain(source, threads);
    } else {
      pack_rounded(source, threads);
    }
  }

  /// What `wanted` comes to for a product of this layout: f32 for depths that are no multiple of 4
  /// (pictures).
  [[nodiscard]] static constexpr Precision precision_of(const Layout& layout,
                                                        Precision wanted) noexcept {
    return layout.depth == 0 || layout.depth % 4 != 0 ? Precision::f32 : wanted;
  }

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] Precision precision() const noexcept { return precision_; }
  /// Of the left operand, where it is int8.
  [[nodiscard]] const Quantization& quantization() const noexcept { return input_; }
  [[nodiscard]] bool empty() const noexcept { return layout_.size() == 0; }
  /// `padded_columns` elements, or null.
  [[nodiscard]] const T* bias() const noexcept { return bias_.data(); }
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
    body(plain_panels());
  }
  /// The panels of weights that are not narrow.
  [[nodiscard]] kernels::PanelMatrix<T, Arch> plain_panels() const noexcept {
    return {layout_, panels_.data(), nullptr, nullptr, input_, precision_};
  }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("panels", self.panels_);
    visit("bfloat16_panels", self.bfloat16_panels_);
    visit("int8_panels", self.int8_panels_);
    visit("scale", self.scale_);
    visit("correction", self.correction_);
    visit("bias", self.bias_);
  }

 private:
  template <class Element>
  static AlignedBuffer<Element> zeros(std::size_t count) {
    AlignedBuffer<Element> out(count);
    std::fill_n(out.data(), count, Element{});
    return out;
  }

  /// What left operands hold too much of the zero point; 0 unless int8.
  [[nodiscard]] std::int32_t held() const noexcept {
    if constexpr (std::is_same_v<T, float>) {
      if (precision_ == Precision::int8) {
        using Dot = simd::DotProduct<T, std::int8_t, Arch>;
        return input_.zero_point - Dot::left_offset(input_.zero_point);
      }
    }
    return 0;
  }

  /// The sizes of all buffers.
  void lay_out(bool has_bias) {
    const std::size_t padded = layout_.padded_columns();
    const bool is_narrow = std::is_same_v<T, float> && precision_ != Precision::f32;
    if (is_narrow) {
      simd::require_cpu<Arch>();  // tile registers must be asked for
      layout_.most_vectors = kernels::narrow_panel_vectors<T, Arch>;
    }
    if (has_bias) bias_ = SharedBuffer<T>::to_come(padded);
    if (is_narrow) scale_ = SharedBuffer<T>::to_come(padded);
    if (!is_narrow) {
      panels_ = SharedBuffer<T>::to_come(layout_.size());
    } else if (precision_ == Precision::bf16) {
      bfloat16_panels_ = SharedBuffer<bfloat16>::to_come(layout_.size());
    } else {
      int8_panels_ = SharedBuffer<std::int8_t>::to_come(layout_.size());
      if (held() != 0) {
        std::size_t chunks = 0;
        kernels::for_each_depth_chunk<std::int8_t>(layout_.taps, layout_.depth,
                                                   [&](const auto&) { ++chunks; });
        correction_ = SharedBuffer<std::int32_t>::to_come(chunks * padded);
      }
    }
  }

  template <class W, class Source, class Convert>
  [[nodiscard]] AlignedBuffer<W> pack(const kernels::PanelSource<Source>& source,
                                      const Convert& convert, const Threads& threads) const {
    AlignedBuffer<W> panels(layout_.size());
    threads.parallel_for(layout_.panels(), [&](std::size_t p, std::size_t) {
      kernels::pack_panels<T, Arch, W>(layout_, source, convert, panels.data(), p, p + 1);
    });
    return panels;
  }

  template <class Source>
  void pack_plain(const kernels::PanelSource<Source>& source, const Threads& threads) {
    AlignedBuffer<T> panels(layout_.size());
    threads.parallel_for(layout_.panels(), [&](std::size_t p, std::size_t) {
      kernels::pack_panels<T, Arch>(layout_, source, panels.data(), p, p + 1);
    });
    panels_ = std::move(panels);
  }

  template <class Source>
  void pack_bfloat16(const kernels::PanelSource<Source>& source, const Threads& threads) {
    AlignedBuffer<T> scale = zeros<T>(scale_.size());
    for (std::size_t n = 0; n < layout_.columns; ++n) {
      scale[n] = static_cast<T>(source.scale_of(n));
    }
    scale_ = std::move(scale);
    bfloat16_panels_ = pack<bfloat16>(
        source,
        [](Source value, std::size_t) { return to_finite_bfloat16(static_cast<float>(value)); },
        threads);
  }

  /// What each column's weights are divided by to become -127 .. 127.
  template <class Source>
  [[nodiscard]] std::vector<double> int8_steps(const kernels::PanelSource<Source>& source,
                                               const Threads& threads) const {
    std::vector<double> steps(layout_.columns);
    threads.parallel_for(layout_.columns, [&](std::size_t n, std::size_t) {
      double largest = 0;
      for (std::size_t t = 0; t < layout_.taps; ++t) {
        const Source* in = source.data + t * source.tap_stride + n * source.column_stride;
        for (std::size_t k = 0; k < layout_.depth; ++k) {
          largest = std::max(largest, std::abs(static_cast<double>(in[k * source.depth_stride])));
        }
      }
      steps[n] = largest > 0 ? largest / 127 : 1;
    });
    return steps;
  }

  /// In double: the weights as narrow panels would hold them, times their scale.
  template <class Source>
  void pack_rounded(const kernels::PanelSource<Source>& source, const Threads& threads) {
    const std::vector<double> steps =
        precision_ == Precision::int8 ? int8_steps(source, threads) : std::vector<double>();
    panels_ = pack<T>(
        source,
        [&](Source value, std::size_t n) {
          auto rounded = static_cast<double>(value);
          if (precision_ == Precision::bf16) {
            rounded = static_cast<double>(to_finite_bfloat16(static_cast<float>(value)));
          } else if (precision_ == Precision::int8) {
            rounded = steps[n] * std::nearbyint(rounded / steps[n]);
          }
          return source.scale_of(n) * rounded;
        },
        threads);
  }

  template <class Source>
  void pack_int8(const kernels::PanelSource<Source>& source, const Threads& threads) {
    const std::vector<double> steps = int8_steps(source, threads);
    AlignedBuffer<T> scale = zeros<T>(scale_.size());
    for (std::size_t n = 0; n < layout_.columns; ++n) {
      scale[n] = static_cast<T>(steps[n] * static_cast<double>(input_.scale) * source.scale_of(n));
    }
    scale_ = std::move(scale);
    int8_panels_ = pack<std::int8_t>(
        source,
        [&](Source value, std::size_t n) {
          return static_cast<std::int8_t>(std::nearbyint(static_cast<double>(value) / steps[n]));
        },
        threads);
    if (held() != 0) correct();
  }

  /// What is to be taken off the sums of each chunk, as left operands hold too much.
  void correct() {
    AlignedBuffer<std::int32_t> correction = zeros<std::int32_t>(correction_.size());
    std::int32_t* out = correction.data();
    kernels::for_each_depth_chunk<std::int8_t>(
        layout_.taps, layout_.depth, [&](const kernels::DepthChunk& chunk) {
          const std::size_t first = chunk.first_tap * layout_.depth + chunk.first_depth;
          for (std::size_t p = 0; p < layout_.panels(); ++p) {
            const std::size_t column = layout_.first_column(p);
            const std::size_t width = layout_.first_column(p + 1) - column;
            const std::int8_t* w = int8_panels_.data() + column * layout_.rows() + first * width;
            for (std::size_t k = 0; k < chunk.taps * chunk.depth; ++k) {
              for (std::size_t n = 0; n < width; ++n) {
                out[column + n] -= held() * w[Layout::template place<std::int8_t>(k, n, width)];
              }
            }
          }
          out += layout_.padded_columns();
        });
    correction_ = std::move(correction);
  }

  Layout layout_;
  Precision precision_ = Precision::f32;
  Quantization input_;
  SharedBuffer<T> panels_;  ///< one of the three, by `precision_`
  SharedBuffer<bfloat16> bfloat16_panels_;
  SharedBuffer<std::int8_t> int8_panels_;
  SharedBuffer<T> scale_;                  ///< of narrow panels
  SharedBuffer<std::int32_t> correction_;  ///< of int8 panels, where needed
  SharedBuffer<T> bias_;
};

}  // namespace q2l::ops
