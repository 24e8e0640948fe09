// SPDX-License-Identifier: MIT
#include "fuzz/check.hpp"
#include "query2label/weights/json_document.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  constexpr std::string_view path = "config.json";
  accepts(size, path, [&] {
    const q2l::JsonDocument document = q2l::parse_json(text_of(data, size), path);
    check(*q2l::parse_json(document->dump(), path) == *document,
          "a document that is written again reads the same");
  });
  return 0;
}
