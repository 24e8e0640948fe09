// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "query2label/weights/mapped_file.hpp"
#include "query2label/weights/packed_layout.hpp"
#include "query2label/weights/tensor_entry.hpp"

namespace q2l {

/// Where the tensors of a WeightMap came from.
enum class WeightFormat { memory, safetensors, packed, torch_zip, torch_legacy };

/// What a weight file of any format holds. The tensors' bytes stay in the file.
struct WeightFile {
  WeightFormat format = WeightFormat::memory;
  std::shared_ptr<const MappedFile> mapping;    ///< the file, open
  std::vector<TensorEntry> tensors;             ///< of a packed file: names and shapes alone
  std::string note;                             ///< which of a checkpoint's state dicts was picked
                                                ///< and which prefix was taken off, in words
  std::map<std::string, std::string> metadata;  ///< the `__metadata__` of a safetensors file
  std::optional<PackedLayout> packed;           ///< how the buffers of a packed file are laid out
  std::vector<TensorEntry> buffers;             ///< of a packed file, in the order of their bytes
  std::set<std::string> foreign_globals;        ///< classes and functions of other libraries that a
                                                ///< checkpoint mentions; none of them was run
};

}  // namespace q2l
