// SPDX-License-Identifier: MIT
// Whole files of weights, mapped and read as models are loaded: checkpoints in ZIP, legacy ones,
// safetensors and packed files.
#include <string>
#include <string_view>

#include "fuzz/check.hpp"
#include "fuzz/check_tensors.hpp"
#include "fuzz/memory_file.hpp"
#include "fuzz/rebuilt_zip.hpp"
#include "query2label/weights/read_weights.hpp"
#include "query2label/weights/weight_map.hpp"

namespace {

void load(std::string_view content, q2l::FileAccess access) {
  using namespace q2l::fuzz;
  static MemoryFile file;
  file.write(content);
  accepts(content.size(), file.path(), [&] {
    q2l::WeightOptions options;
    options.access = access;
    options.threads = 1;
    q2l::WeightMap weights = q2l::read_weights(file.path(), tensor_limits, options);
    const auto bytes = weights.source().mapping->bytes();
    check_tensors(weights.source().buffers, bytes);
    for (const std::string& name : weights.names()) {
      const q2l::TensorEntry& entry = weights.entry(name);
      check_inside(entry.storage, bytes);
      check(weights.take<float>(name, entry.shape).size() == entry.element_count(),
            "a tensor has as many values as its shape");
    }
    weights.finish();
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  const std::string_view content = text_of(data, size);
  load(content, q2l::FileAccess::map);
  load(content, q2l::FileAccess::read);
  // What lies behind a checksum is reached only with one that fits.
  accepts(size, "",
          [&] { load(rebuilt_zip(q2l::ZipArchive(bytes_of(data, size))), q2l::FileAccess::map); });
  return 0;
}
