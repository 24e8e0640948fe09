// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>

#include "query2label/core/parallel_for.hpp"
#include "query2label/weights/mapped_file.hpp"

namespace q2l {

/// What is asked of a checkpoint.
struct TorchOptions {
  std::string state_dict;  ///< which dictionary of tensors; empty: the preferred one
  bool verify = true;  ///< check the CRC-32 of the tensors' bytes (that of the pickle always is)
};

/// How a weight file is read.
struct WeightOptions {
  FileAccess access = FileAccess::map;
  TorchOptions torch = {};
  std::size_t threads = 0;       ///< that read and pack; 0: all of the machine's
  TaskRunner* runner = nullptr;  ///< the host's threads; null: a pool of the map's own
};

}  // namespace q2l
