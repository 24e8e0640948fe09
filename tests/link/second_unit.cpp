// SPDX-License-Identifier: MIT
#include <query2label/query2label.hpp>

std::size_t tags_of_second_unit(const char* model, const char* picture);

std::size_t tags_of_second_unit(const char* model, const char* picture) {
  return q2l::Tagger::load(model).tag(q2l::read_image(picture)).size();
}
