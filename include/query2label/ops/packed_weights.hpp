// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/panel_matrix.hpp"

namespace q2l::ops {

/// The weights and bias of a product, packed at load and never changed after.
template <class T, class Arch>
class PackedWeights {
 public:
  using Layout = kernels::PanelLayout<T, Arch>;

  PackedWeights() = default;

  /// Packs B, whose element of tap t, depth k, column n is
  /// `source[t * tap_stride + k * depth_stride + n * column_stride]`. `bias` has `layout.columns`
  /// elements or none.
  template <class Source>
  PackedWeights(const Layout& layout, const Source* source, std::size_t tap_stride,
                std::size_t depth_stride, std::size_t column_stride, std::span<const Source> bias)
      : layout_(layout), panels_(layout.size()) {
    kernels::pack_panels<T, Arch>(layout, source, tap_stride, depth_stride, column_stride,
                                  panels_.data(), 0, layout.panels());
    if (bias.empty()) return;
    bias_ = AlignedBuffer<T>(layout.padded_columns());
    std::fill_n(bias_.data(), bias_.size(), T(0));
    std::transform(bias.begin(), bias.end(), bias_.data(),
                   [](Source value) { return static_cast<T>(value); });
  }

  [[nodiscard]] kernels::PanelMatrix<T, Arch> matrix() const noexcept {
    return {layout_, panels_.data()};
  }
  /// `padded_columns` elements, or null.
  [[nodiscard]] const T* bias() const noexcept { return bias_.data(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return (panels_.size() + bias_.size()) * sizeof(T);
  }

 private:
  Layout layout_;
  AlignedBuffer<T> panels_;
  AlignedBuffer<T> bias_;
};

}  // namespace q2l::ops
