// SPDX-License-Identifier: MIT
#include <query2label/query2label.hpp>

std::size_t labels_of_second_unit();

std::size_t labels_of_second_unit() {
  const auto load =
      static_cast<q2l::Tagger (*)(const std::filesystem::path&, const q2l::TaggerOptions&)>(
          &q2l::Tagger::load);
  return load != nullptr ? q2l::LabelSet::coco80().size() : 0;
}
