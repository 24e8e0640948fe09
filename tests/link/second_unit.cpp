// SPDX-License-Identifier: MIT
#include <query2label/query2label.hpp>

std::size_t labels_of_second_unit();

std::size_t labels_of_second_unit() {
  try {
    static_cast<void>(q2l::Tagger::load(""));
  } catch (const q2l::Error& error) {
    return error.code() == q2l::ErrorCode::io ? q2l::LabelSet::coco80().size() : 0;
  }
  return 0;
}
