// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/packed_layout.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/tensor_names.hpp"

// What the metadata of a packed file hold, as JSON and back.

namespace q2l {

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
  JsonDocument out(nlohmann::json::object());
  for (const auto& [name, shape] : shapes) {
    nlohmann::json& extents = (*out)[name] = nlohmann::json::array();
    for (const std::uint64_t extent : shape) extents.push_back(extent);
  }
  return out->dump();
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
