// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "query2label/weights/byte_reader.hpp"

namespace q2l::detail {

/// What the content of a file promises to be; its name is not asked.
enum class FileKind { safetensors, zip, pickle, other };

inline FileKind detect_file_kind(std::span<const std::byte> file) {
  const std::string_view text = as_text(file.first(std::min<std::size_t>(file.size(), 16)));
  if (text.size() > 8 && text[8] == '{')
    return FileKind::safetensors;  // 8 bytes of length, then JSON
  if (text.starts_with("PK\3\4") || text.starts_with("PK\5\6")) return FileKind::zip;
  if (text.starts_with('\x80') && text.size() > 1 && static_cast<unsigned char>(text[1]) <= 5)
    return FileKind::pickle;
  return FileKind::other;
}

/// What a file that is no weight file looks like, in words for the user.
inline std::string_view describe_content(std::span<const std::byte> file) {
  struct Row {
    std::size_t offset;
    std::string_view start;
    std::string_view description;
  };
  using namespace std::string_view_literals;
  static constexpr auto rows = std::to_array<Row>({
      {0, "version https://git-lfs"sv,
       "this is a Git LFS pointer, not the file itself: run 'git lfs pull'"sv},
      {0, "\x1f\x8b"sv, "this is gzip data: unpack it first"sv},
      {0, "7z\xbc\xaf\x27\x1c"sv, "this is a 7z archive: unpack it first"sv},
      {0, "Rar!\x1a\x07"sv, "this is a RAR archive: unpack it first"sv},
      {0, "BZh"sv, "this is bzip2 data: unpack it first"sv},
      {0, "\xfd\x37zXZ"sv, "this is xz data: unpack it first"sv},
      {0, "\x28\xb5\x2f\xfd"sv, "this is zstd data: unpack it first"sv},
      {257, "ustar"sv,
       "this is a tar archive: unpack it first (PyTorch files of before 2017 are not read)"sv},
      {0, "\x89HDF\r\n"sv, "this is an HDF5 file; only safetensors and PyTorch files are read"sv},
      {0, "GGUF"sv, "this is a GGUF file; only safetensors and PyTorch files are read"sv},
      {0, "\x93NUMPY"sv, "this is a NumPy array; only safetensors and PyTorch files are read"sv},
      {4, "TFL3"sv,
       "this is a TensorFlow Lite file; only safetensors and PyTorch files are read"sv},
      {0, "\x08\x03\x12"sv,
       "this looks like an ONNX file; only safetensors and PyTorch files are read"sv},
      {0, "\x7f\x45LF"sv, "this is a program"sv},
      {0, "MZ"sv, "this is a program"sv},
      {0, "%PDF"sv, "this is a PDF"sv},
      {0, "\xff\xd8\xff"sv, "this is a JPEG picture"sv},
      {0, "\x89PNG"sv, "this is a PNG picture"sv},
      {0, "<"sv, "this is HTML or XML, perhaps an error page saved in place of the download"sv},
      {0, "{"sv, "this is JSON text, perhaps the configuration or an error message of a server"sv},
  });
  const std::string_view text = as_text(file);
  for (const Row& row : rows)
    if (text.size() > row.offset && text.substr(row.offset).starts_with(row.start))
      return row.description;
  return "neither safetensors nor a file by torch.save";
}

}  // namespace q2l::detail
