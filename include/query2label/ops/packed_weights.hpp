// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/kernels/panel_matrix.hpp"

namespace q2l::ops {

/// The weights and bias of a product, packed at load and never changed after.
template <class T, class Arch>
class PackedWeights {
 public:
  using Layout = kernels::PanelLayout<T, Arch>;

  PackedWeights() = default;

  /// Packs B. `bias` has `layout.columns` elements or none. Where the source has no data, the
  /// buffers are laid out and left to come.
  template <class Source, class Bias>
  PackedWeights(const Layout& layout, const kernels::PanelSource<Source>& source,
                const SharedBuffer<Bias>& bias, const Threads& threads = {})
      : layout_(layout),
        panels_(SharedBuffer<T>::to_come(layout.size())),
        bias_(SharedBuffer<T>::to_come(bias.empty() ? 0 : layout.padded_columns())) {
    if (source.data == nullptr) return;
    AlignedBuffer<T> panels(panels_.size());
    threads.parallel_for(layout.panels(), [&](std::size_t p, std::size_t) {
      kernels::pack_panels<T, Arch>(layout, source, panels.data(), p, p + 1);
    });
    panels_ = std::move(panels);
    if (bias.empty()) return;
    AlignedBuffer<T> padded(bias_.size());
    std::fill_n(padded.data(), padded.size(), T(0));
    std::transform(bias.begin(), bias.end(), padded.data(),
                   [](Bias value) { return static_cast<T>(value); });
    bias_ = std::move(padded);
  }

  [[nodiscard]] kernels::PanelMatrix<T, Arch> matrix() const noexcept {
    return {layout_, panels_.data()};
  }
  /// `padded_columns` elements, or null.
  [[nodiscard]] const T* bias() const noexcept { return bias_.data(); }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("panels", self.panels_);
    visit("bias", self.bias_);
  }

 private:
  Layout layout_;
  SharedBuffer<T> panels_;
  SharedBuffer<T> bias_;
};

}  // namespace q2l::ops
