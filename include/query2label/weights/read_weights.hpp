// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/weights/file_kind.hpp"
#include "query2label/weights/mapped_file.hpp"
#include "query2label/weights/packed_metadata.hpp"
#include "query2label/weights/safetensors.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/tensor_names.hpp"
#include "query2label/weights/torch_checkpoint.hpp"
#include "query2label/weights/weight_file.hpp"
#include "query2label/weights/weight_map.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l {
namespace detail {

/// Adds to the note of a file, in words.
inline void add_note(WeightFile& file, const std::string& words) {
  file.note += (file.note.empty() ? "" : ", ") + words;
}

/// Names without the wrappers' prefix that every one begins with.
inline void keep_tensors(WeightFile& file, std::vector<TensorEntry>&& tensors) {
  std::vector<std::string_view> names;
  for (const TensorEntry& tensor : tensors) names.push_back(tensor.name);
  const std::size_t prefix = common_prefix_length(names);
  if (prefix > 0)
    add_note(file, "without the prefix '" + tensors.front().name.substr(0, prefix) + "'");
  for (TensorEntry& tensor : tensors) tensor.name.erase(0, prefix);
  file.tensors = std::move(tensors);
}

inline void keep_checkpoint(WeightFile& file, TorchCheckpoint&& checkpoint) {
  if (!checkpoint.state_dict.empty()) add_note(file, "tensors of '" + checkpoint.state_dict + "'");
  for (const std::string& other : checkpoint.others) add_note(file, "not of '" + other + "'");
  if (file.format == WeightFormat::torch_zip && !checkpoint.has_checksums)
    add_note(file, "written without checksums");
  file.foreign_globals = std::move(checkpoint.foreign_globals);
  keep_tensors(file, std::move(checkpoint.tensors));
}

inline void keep_safetensors(WeightFile& file, Safetensors&& content, std::uint64_t bytes,
                             const Limits& limits) {
  file.metadata = std::move(content.metadata);
  if (!file.metadata.contains("packed")) return keep_tensors(file, std::move(content.tensors));
  file.format = WeightFormat::packed;
  file.packed = parse_packed_layout(file.metadata, limits);
  file.buffers = std::move(content.tensors);
  file.tensors = parse_tensor_shapes(file.metadata, bytes, limits);
}

inline WeightFile parse_weight_file(std::shared_ptr<const MappedFile> mapping, const Limits& limits,
                                    const TorchOptions& options) {
  WeightFile file;
  file.mapping = std::move(mapping);
  const std::span<const std::byte> bytes = file.mapping->bytes();
  switch (detect_file_kind(bytes)) {
    case FileKind::safetensors:
      file.format = WeightFormat::safetensors;
      keep_safetensors(file, parse_safetensors(bytes, limits), bytes.size(), limits);
      return file;
    case FileKind::zip:
      file.format = WeightFormat::torch_zip;
      keep_checkpoint(file, read_torch_zip(bytes, limits, options));
      return file;
    case FileKind::pickle:
      file.format = WeightFormat::torch_legacy;
      keep_checkpoint(file, read_torch_legacy(bytes, limits, options));
      return file;
    case FileKind::other:
      break;
  }
  if (bytes.empty()) throw Error(ErrorCode::truncated, "the file is empty", {.offset = 0});
  throw Error(ErrorCode::bad_magic, describe_content(bytes), {.offset = 0});
}

}  // namespace detail

/// Opens a weight file of any supported format, told by its content. The prefixes `module.` and
/// `model.` are taken off where every tensor has them. Throws bad_magic saying what the file looks
/// like, and what the formats' readers throw; every error names the file.
inline WeightMap read_weights(const std::filesystem::path& path, const Limits& limits = {},
                              const WeightOptions& options = {}) {
  return with_memory_error("no memory to read the file", path.native(), [&] {
    try {
      WeightMap map(options);
      map.add(detail::parse_weight_file(
          std::make_shared<const MappedFile>(
              path, options.access, options.access == FileAccess::read ? map.threads() : Threads{}),
          limits, options.torch));
      return map;
    } catch (const Error& error) {
      throw error.in_file(path.native());
    }
  });
}

}  // namespace q2l
