// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace q2l {

/// Bounds for everything read from outside. Each parser takes one; the defaults suit a desktop
/// program.
struct Limits {
  std::uint64_t safetensors_header_bytes = 100'000'000;  ///< the format's own bound
  std::uint64_t tensors = 100'000;                       ///< tensors in one file
  std::uint64_t tensor_rank = 8;
  std::uint64_t tensor_name_bytes = 1024;
  std::uint64_t expanded_tensor_elements = 1u << 24;     ///< that a checkpoint's tensors have beyond what is stored
  std::uint64_t zip_entries = 65'535;
  std::uint64_t pickle_bytes = 64u << 20;                ///< data.pkl of a checkpoint
  std::uint64_t pickle_opcodes = 20'000'000;
  std::uint64_t pickle_globals = 2'000;                  ///< mentions of classes and functions
  std::uint64_t pickle_global_bytes = 512;               ///< name of a module, or of a class in it
  std::uint64_t json_bytes = 16u << 20;
  std::uint64_t json_depth = 64;
  std::uint64_t json_values = 1'000'000;                 ///< numbers, strings, arrays and so on in one text
  std::uint64_t metadata_value_bytes = 16u << 20;        ///< one value of safetensors' __metadata__
  std::uint64_t model_side = 2048;                       ///< of a model's pictures, pixels
  std::uint64_t label_file_bytes = 16u << 20;
  std::uint64_t labels = 1'000'000;
  std::uint64_t image_file_bytes = 256u << 20;
  std::uint64_t image_pixels = 64'000'000;               ///< half for 16-bit or interlaced PNGs, a quarter for both
  std::uint64_t image_side = 1u << 16;                   ///< width or height, pixels
  std::uint64_t jpeg_scans = 200;
  std::uint64_t jpeg_scan_samples = 1'500'000'000;       ///< passed over by all scans, for their time
};

}  // namespace q2l
