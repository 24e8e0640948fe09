// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "query2label/core/shared_buffer.hpp"

namespace q2l {

/// Hands every buffer of a layer, and of the layers in it, to `sink(path, buffer)`, always in the
/// same order; a path looks like "decoder.layers.0.cross_attention.query.panels". A layer names its
/// parts in a static member `visit_buffers(self, visit)`, which calls `visit(name, part)` for each
/// buffer, layer, or sequence or optional of layers. Buffers without elements are left out.
template <class Sink>
class BufferVisitor {
 public:
  explicit BufferVisitor(Sink& sink) : sink_(sink) {}

  template <class Part>
  void operator()(std::string_view name, Part& part) {
    const std::size_t parent = path_.size();
    if (parent > 0) path_ += '.';
    path_ += name;
    enter(part);
    path_.resize(parent);
  }

 private:
  template <class T>
  void enter(const SharedBuffer<T>& buffer) {
    if (!buffer.empty()) sink_(path_, buffer);
  }
  template <class T>
  void enter(SharedBuffer<T>& buffer) {
    if (!buffer.empty()) sink_(path_, buffer);
  }
  template <class Layer>
  void enter(Layer& layer) {
    if constexpr (requires { layer.visit_buffers(layer, *this); }) {
      layer.visit_buffers(layer, *this);
    } else if constexpr (requires { layer.has_value(); }) {
      if (layer) enter(*layer);
    } else {
      for (std::size_t i = 0; i < layer.size(); ++i) (*this)(std::to_string(i), layer[i]);
    }
  }

  Sink& sink_;
  std::string path_;
};

}  // namespace q2l
