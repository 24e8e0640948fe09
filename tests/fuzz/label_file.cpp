// SPDX-License-Identifier: MIT
#include "query2label/labels/label_file.hpp"

#include <string>

#include "fuzz/check.hpp"

namespace {

void check_labels(const q2l::LabelSet& labels) {
  using q2l::fuzz::check;
  check(!labels.empty(), "there are labels");
  for (std::size_t k = 0; k < labels.size(); ++k)
    check(!labels[k].empty() && labels.index_of(labels[k]) == k, "a label is found by its name");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  const std::string_view text = text_of(data, size);
  accepts(size, "", [&] {
    const q2l::LabelSet labels = q2l::parse_label_text(text);
    check_labels(labels);
    std::string again = "\xEF\xBB\xBF";
    for (const std::string& label : labels) again += label + "\r\n";
    check(q2l::parse_label_text(again) == labels, "labels that are written again read the same");
  });
  accepts(size, "", [&] { check_labels(q2l::parse_label_csv(text)); });
  return 0;
}
