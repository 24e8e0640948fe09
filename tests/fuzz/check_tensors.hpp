// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/check.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/tensor_entry.hpp"

namespace q2l::fuzz {

/// Few elements for tensors that repeat their storage, of which a small file can hold many.
inline const Limits tensor_limits{.expanded_tensor_elements = 4096};

/// Reads every tensor of a file whose structure was accepted; values that are not finite may be
/// refused.
inline void check_tensors(std::span<const TensorEntry> tensors, std::span<const std::byte> file) {
  for (const TensorEntry& tensor : tensors) {
    check_inside(tensor.storage, file);
    check(tensor.storage.empty() || tensor.storage.data() == file.data() + tensor.file_offset,
          "a storage lies where its offset says");
    tensor.require_valid(tensor_limits);
    const bool finite = accepts(file.size(), "", [&] {
      const std::vector<float> values = tensor.read<float>();
      check(values.size() == tensor.element_count(), "a tensor has as many values as its shape");
      check(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }),
            "values are finite");
      if (const auto in_place = tensor.read_in_place<float>())
        check(std::equal(values.begin(), values.end(), in_place->begin(), in_place->end()),
              "values are the same in place");
    });
    if (!finite) continue;
    if (const auto bytes = tensor.row_major_bytes()) {
      check_inside(*bytes, tensor.storage);
      check(bytes->size() == tensor.element_count() * size_of(tensor.dtype),
            "the bytes of a tensor have its size");
    }
  }
}

}  // namespace q2l::fuzz
