// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <variant>

#include "query2label/backbone/cvt.hpp"
#include "query2label/backbone/resnet.hpp"
#include "query2label/backbone/swin.hpp"
#include "query2label/backbone/tresnet.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/weights/weight_map.hpp"

namespace q2l {

/// What a backbone is to the model: pictures [N, H, W, 3] to features [N, H / s, W / s, C]. It also
/// names its parts to a BufferVisitor.
template <class B, class T>
concept BackboneFor = requires(const B& backbone, const Context& context, FeatureMap<const T> image,
                               FeatureMap<T> features) {
  { backbone.channels() } -> std::convertible_to<std::size_t>;
  { backbone.stride() } -> std::convertible_to<std::size_t>;
  backbone.forward(context, image, features);
};

/// The sizes of any backbone this library knows.
using BackboneShape = std::variant<ResNetShape, TResNetShape, SwinShape, CvtShape>;

/// Pixels of the picture for one of the feature map.
inline std::size_t backbone_stride(const BackboneShape& shape) noexcept {
  return std::visit([](const auto& s) -> std::size_t { return s.stride; }, shape);
}

/// `shape` as a backbone takes it: AnyBackbone any shape, a family its own.
/// Throws Error bad_config when the shape is another family's.
template <class Shape>
const Shape& shape_for(const BackboneShape& shape) {
  if constexpr (std::is_same_v<Shape, BackboneShape>) {
    return shape;
  } else {
    if (const Shape* own = std::get_if<Shape>(&shape)) return *own;
    throw Error(ErrorCode::bad_config,
                "the model's backbone is of another family than the program's");
  }
}

/// A backbone chosen at load.
template <class T, class Arch>
class AnyBackbone {
 public:
  using Shape = BackboneShape;

  [[nodiscard]] static AnyBackbone load(WeightMap& weights, const BackboneShape& shape);

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    std::visit([&](auto& net) { net.visit_buffers(net, visit); }, self.net_);
  }

  [[nodiscard]] std::size_t channels() const noexcept {
    return std::visit([](const auto& net) { return net.channels(); }, net_);
  }
  [[nodiscard]] std::size_t stride() const noexcept { return backbone_stride(shape_); }
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> features) const;

 private:
  void emplace(WeightMap& weights, const ResNetShape& shape) {
    net_ = ResNet<T, Arch>::load(weights, shape);
  }
  void emplace(WeightMap& weights, const TResNetShape& shape) {
    net_ = TResNet<T, Arch>::load(weights, shape);
  }
  void emplace(WeightMap& weights, const SwinShape& shape) {
    net_ = Swin<T, Arch>::load(weights, shape);
  }
  void emplace(WeightMap& weights, const CvtShape& shape) {
    net_ = Cvt<T, Arch>::load(weights, shape);
  }

  BackboneShape shape_;
  std::variant<ResNet<T, Arch>, TResNet<T, Arch>, Swin<T, Arch>, Cvt<T, Arch>> net_;
};

template <class T, class Arch>
AnyBackbone<T, Arch> AnyBackbone<T, Arch>::load(WeightMap& weights, const BackboneShape& shape) {
  AnyBackbone any;
  any.shape_ = shape;
  std::visit([&](const auto& s) { any.emplace(weights, s); }, shape);
  return any;
}

template <class T, class Arch>
void AnyBackbone<T, Arch>::forward(const Context& context, FeatureMap<const T> image,
                                   FeatureMap<T> features) const {
  std::visit([&](const auto& net) { net.forward(context, image, features); }, net_);
}

}  // namespace q2l

#ifdef QUERY2LABEL_SEPARATE_COMPILATION
extern template class q2l::AnyBackbone<float, q2l::simd::DefaultArch>;
#endif
