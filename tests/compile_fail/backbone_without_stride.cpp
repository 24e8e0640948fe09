// SPDX-License-Identifier: MIT
// A model takes a host's own backbone if it has what BackboneFor asks for.
#include <cstddef>

#include "query2label/model/query2label_model.hpp"

template <class T, class Arch>
struct OwnBackbone {
  [[nodiscard]] std::size_t channels() const;
#ifndef MISUSE
  [[nodiscard]] std::size_t stride() const;
#endif
  void forward(const q2l::Context& context, q2l::FeatureMap<const T> image,
               q2l::FeatureMap<T> features) const;
};

using Model = q2l::Query2Label<float, q2l::simd::DefaultArch, OwnBackbone>;
constexpr std::size_t size = sizeof(Model);
