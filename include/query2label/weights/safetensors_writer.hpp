// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/output_file.hpp"
#include "query2label/weights/dtype.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/tensor_entry.hpp"

namespace q2l {

/// A tensor to be written; `bytes` holds its little-endian elements in row-major order.
struct TensorBytes {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes a safetensors file with the tensors in the given order; the data begin at a multiple of
/// 64 bytes. The file appears complete or not at all. Throws bad_argument for repeated or empty
/// names and for bytes that do not fit the shape, bad_encoding for names and metadata that are not
/// UTF-8, output_io.
inline void write_safetensors(const std::filesystem::path& path,
                              std::span<const TensorBytes> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::string header = "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata)
    header += (header.ends_with('{') ? "" : ",") + json_quoted(key) + ":" + json_quoted(value);
  header += "}";
  std::set<std::string_view> names{"", "__metadata__"};
  std::uint64_t begin = 0;
  for (const TensorBytes& tensor : tensors) {
    if (!names.insert(tensor.name).second)
      throw Error(ErrorCode::bad_argument, "a tensor's name is empty, reserved or repeated",
                  {.path = path.string(), .subject = tensor.name});
    const std::uint64_t size = count_elements(tensor.shape, tensor.name) * size_of(tensor.dtype);
    if (size != tensor.bytes.size())
      throw Error(ErrorCode::bad_argument, "the bytes do not fit the shape",
                  {.path = path.string(),
                   .subject = tensor.name,
                   .expected = std::to_string(size) + " bytes",
                   .actual = std::to_string(tensor.bytes.size())});
    header += "," + json_quoted(tensor.name) + ":{\"dtype\":\"" +
              std::string(to_string(tensor.dtype)) + "\",\"shape\":" + shape_text(tensor.shape) +
              ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(begin + size) +
              "]}";
    begin += size;
  }
  header += "}";
  constexpr std::size_t alignment = 64;
  const std::uint64_t length_bytes = sizeof(std::uint64_t);
  while ((length_bytes + header.size()) % alignment != 0) header += ' ';

  OutputFile file(path);
  const std::uint64_t header_bytes = header.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const TensorBytes& tensor : tensors) file.write(tensor.bytes);
  file.commit();
}

}  // namespace q2l
