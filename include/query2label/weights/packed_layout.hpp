// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/simd/dot_product.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/tensor_names.hpp"

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

/// `layout` as the metadata of a packed file hold it.
inline std::string packed_layout_text(const PackedLayout& layout) {
  return nlohmann::json{{"version", layout.version},
                        {"instruction_set", layout.instruction_set},
                        {"lanes", layout.lanes},
                        {"tile_vectors", layout.tile_vectors},
                        {"narrow_vectors", layout.narrow_vectors},
                        {"int8_group", layout.int8_group},
                        {"int8_offset", layout.int8_offset}}
      .dump();
}

/// Reads what `packed_layout_text` wrote as `packed`. Throws bad_header, and as `parse_metadata`.
inline PackedLayout parse_packed_layout(const std::map<std::string, std::string>& metadata,
                                        const Limits& limits) {
  const JsonDocument layout = parse_metadata(metadata, "packed", limits);
  const auto member = [&](const char* key, bool (nlohmann::json::*is)() const noexcept) {
    const auto at = layout->find(key);
    if (at == layout->end() || !((*at).*is)())
      throw Error(ErrorCode::bad_header, "the metadata do not describe a packed layout",
                  {.subject = "packed", .actual = metadata.at("packed")});
    return *at;
  };
  const auto count = [&](const char* key) {
    return member(key, &nlohmann::json::is_number_unsigned).get<std::uint64_t>();
  };
  return {count("version"),
          member("instruction_set", &nlohmann::json::is_string).get<std::string>(),
          count("lanes"),
          count("tile_vectors"),
          count("narrow_vectors"),
          count("int8_group"),
          member("int8_offset", &nlohmann::json::is_number_integer).get<std::int64_t>()};
}

/// Names and shapes as the metadata of a packed file hold them.
inline std::string tensor_shapes_text(
    const std::map<std::string, std::vector<std::uint64_t>>& shapes) {
  return nlohmann::json(shapes).dump();
}

/// Reads what `tensor_shapes_text` wrote as `tensors`, as tensors without storage. Throws
/// bad_header, as `parse_metadata`, and, as a layout is made from the shapes alone, limit_exceeded
/// where they have more elements than `most_elements`.
inline std::vector<TensorEntry> parse_tensor_shapes(
    const std::map<std::string, std::string>& metadata, std::uint64_t most_elements,
    const Limits& limits) {
  const auto require = [](bool fits, const std::string& subject) {
    if (!fits)
      throw Error(ErrorCode::bad_header, "the metadata do not hold names and shapes",
                  {.subject = subject});
  };
  const JsonDocument shapes = parse_metadata(metadata, "tensors", limits);
  require(shapes->is_object(), "tensors");
  std::vector<TensorEntry> tensors;
  std::uint64_t elements = 0;
  for (const auto& [name, shape] : shapes->items()) {
    detail::require_tensor_name(name, limits);
    TensorEntry tensor;
    tensor.name = name;
    require(shape.is_array(), name);
    for (const nlohmann::json& extent : shape) {
      require(extent.is_number_unsigned(), name);
      tensor.shape.push_back(extent.get<std::uint64_t>());
    }
    const auto sum = checked_add(elements, tensor.element_count());
    if (tensor.shape.size() > limits.tensor_rank || tensors.size() >= limits.tensors || !sum ||
        *sum > most_elements)
      throw Error(ErrorCode::limit_exceeded, "the shapes are too large for the file",
                  {.subject = name, .actual = shape_text(tensor.shape)});
    elements = *sum;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace q2l
