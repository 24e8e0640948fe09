// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/buffer_visitor.hpp"
#include "query2label/core/crc32.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/weights/dtype.hpp"
#include "query2label/weights/packed_layout.hpp"
#include "query2label/weights/packed_metadata.hpp"
#include "query2label/weights/safetensors_writer.hpp"
#include "query2label/weights/weight_map.hpp"

// The buffers of a loaded model to a packed file and back.

namespace q2l {
namespace detail {

/// Elements that a buffer of `count` elements has in a packed file: whole cache lines, so that the
/// next one is aligned, too.
template <class T>
constexpr std::size_t padded_count(std::size_t count) noexcept {
  return round_up(count, cache_line / sizeof(T));
}

inline std::string crc32_text(std::uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(crc));
  return text;
}

/// What every error about the content of a packed file says last.
inline constexpr std::string_view convert_again =
    "; convert the plain model file again with q2l convert --packed, or load that";

}  // namespace detail

/// The buffers of a model as tensors of a packed file.
class BufferList {
 public:
  /// Valid while `model` lives. Throws std::bad_alloc.
  template <class Model>
  explicit BufferList(const Model& model) {
    BufferVisitor visit(*this);
    model.visit_buffers(model, visit);
  }

  template <class T>
  void operator()(const std::string& path, const SharedBuffer<T>& buffer) {
    const std::size_t count = detail::padded_count<T>(buffer.size());
    std::span<const std::byte> bytes = std::as_bytes(std::span<const T>(buffer));
    if (count != buffer.size()) {  // small: panels are whole lines, but for odd depths
      std::vector<T> elements(buffer.begin(), buffer.end());
      elements.resize(count);
      const std::span<const std::byte> unpadded = std::as_bytes(std::span<const T>(elements));
      bytes = padded_.emplace_back(unpadded.begin(), unpadded.end());
    }
    tensors_.push_back({path, dtype_of<T>(), {count}, bytes});
    crc_ = crc32(bytes, crc_);
  }

  [[nodiscard]] const std::vector<TensorBytes>& tensors() const noexcept { return tensors_; }
  /// The metadata `crc32`.
  [[nodiscard]] std::string checksum() const { return detail::crc32_text(crc_); }

 private:
  std::vector<TensorBytes> tensors_;
  std::list<std::vector<std::byte>> padded_;
  std::uint32_t crc_ = 0;
};

/// Writes a packed model file: the buffers of `model`, `shapes` of the tensors it was loaded from,
/// and the `metadata` of a plain model file. Throws as `write_safetensors`.
template <class T, class Arch, class Model>
void write_packed_file(const std::filesystem::path& path, const Model& model,
                       const std::map<std::string, WeightMap::Shape>& shapes,
                       std::map<std::string, std::string> metadata) {
  const BufferList buffers(model);
  metadata["packed"] = packed_layout_text(PackedLayout::of<T, Arch>());
  metadata["tensors"] = tensor_shapes_text(shapes);
  metadata["crc32"] = buffers.checksum();
  write_safetensors(path, buffers.tensors(), metadata);
}

/// Throws checksum_mismatch where the buffers of a packed file are not those that were written,
/// missing_entry where the file does not say. Reads all of it.
inline void verify_buffers(const WeightMap& weights) {
  std::uint32_t crc = 0;
  for (const TensorEntry& buffer : weights.source().buffers) crc = crc32(buffer.storage, crc);
  const auto expected = weights.source().metadata.find("crc32");
  if (expected == weights.source().metadata.end())
    throw Error(ErrorCode::missing_entry, "the packed file has no checksum", {.subject = "crc32"});
  if (expected->second != detail::crc32_text(crc))
    throw Error(ErrorCode::checksum_mismatch, "the packed file is damaged",
                {.expected = expected->second, .actual = detail::crc32_text(crc)});
}

/// Throws unsupported unless the packed file `weights` is laid out as a program for T and Arch
/// needs it.
template <class T, class Arch>
void require_packed_layout(const WeightMap& weights) {
  const PackedLayout own = PackedLayout::of<T, Arch>();
  if (weights.source().packed->fits(own)) return;
  throw Error(ErrorCode::unsupported,
              "the file is packed for another instruction set or version" +
                  std::string(detail::convert_again),
              {.expected = own.describe(), .actual = weights.source().packed->describe()});
}

/// Makes every buffer of `model`, laid out and still to come, a view of the packed file `weights`
/// that keeps the file open. Throws missing_tensor, unexpected_tensor, bad_dtype or size_mismatch
/// naming the buffer, bad_offset for one that is not aligned.
template <class Model>
void map_buffers(const WeightMap& weights, Model& model) {
  const auto fail = [](ErrorCode code, std::string_view detail, const std::string& path,
                       std::string expected = {}, std::string actual = {}) {
    throw Error(code, std::string(detail) + std::string(detail::convert_again),
                {.subject = path, .expected = std::move(expected), .actual = std::move(actual)});
  };
  std::map<std::string_view, const TensorEntry*> unused;
  for (const TensorEntry& buffer : weights.source().buffers) unused.emplace(buffer.name, &buffer);
  const auto attach = [&]<class T>(const std::string& path, SharedBuffer<T>& buffer) {
    const auto found = unused.find(path);
    if (found == unused.end())
      fail(ErrorCode::missing_tensor, "the packed file lacks a buffer", path);
    const TensorEntry& entry = *found->second;
    if (entry.dtype != dtype_of<T>())
      fail(ErrorCode::bad_dtype, "a buffer has another element type", path,
           std::string(to_string(dtype_of<T>())), std::string(to_string(entry.dtype)));
    const std::size_t bytes = detail::padded_count<T>(buffer.size()) * sizeof(T);
    if (entry.storage.size() != bytes)
      fail(ErrorCode::size_mismatch, "a buffer has another size", path,
           std::to_string(bytes) + " bytes", std::to_string(entry.storage.size()));
    if (reinterpret_cast<std::uintptr_t>(entry.storage.data()) % cache_line != 0)
      fail(ErrorCode::bad_offset, "a buffer is not aligned", path);
    buffer = {weights.source().mapping,
              std::span(reinterpret_cast<const T*>(entry.storage.data()), buffer.size())};
    unused.erase(found);
  };
  BufferVisitor visit(attach);
  model.visit_buffers(model, visit);
  if (!unused.empty())
    fail(ErrorCode::unexpected_tensor, "the packed file has a buffer too many",
         std::string(unused.begin()->first));
}

}  // namespace q2l
