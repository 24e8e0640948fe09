// SPDX-License-Identifier: MIT
#include "query2label/weights/safetensors.hpp"

#include "fuzz/check.hpp"
#include "fuzz/check_tensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  const auto file = bytes_of(data, size);
  accepts(size, "", [&] {
    const q2l::Safetensors parsed = q2l::parse_safetensors(file, tensor_limits);
    std::uint64_t tensor_bytes = 0;
    for (const q2l::TensorEntry& tensor : parsed.tensors) {
      check(tensor.storage.size() == tensor.element_count() * q2l::size_of(tensor.dtype),
            "a range has the size of its tensor");
      tensor_bytes += tensor.storage.size();
      check(tensor.file_offset + tensor.storage.size() <= size, "a tensor ends in the file");
    }
    const std::uint64_t data_offset =
        parsed.tensors.empty() ? size : parsed.tensors.front().file_offset;
    check(data_offset + tensor_bytes == size, "the tensors fill the data, once");
    check_tensors(parsed.tensors, file);
  });
  return 0;
}
