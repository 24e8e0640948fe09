// SPDX-License-Identifier: MIT
// Lesson: a model file, a picture, its tags. Usage: 01_tag_one_image MODEL PICTURE
#include <iostream>
#include <query2label/query2label.hpp>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: 01_tag_one_image MODEL PICTURE\n";
    return 2;
  }
  const auto tagger = q2l::Tagger::load(argv[1]);
  for (const q2l::Tag& tag : tagger.tag(q2l::read_image(argv[2]))) {
    std::cout << tag.label << ' ' << tag.score << '\n';
  }
} catch (const q2l::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
