// SPDX-License-Identifier: MIT
// Lesson: many pictures. They are tagged a batch at a time, which costs less a picture and changes
// no bit of its tags; one that cannot be read is passed over. Usage: 02_tag_a_folder MODEL FOLDER
#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <query2label/query2label.hpp>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: 02_tag_a_folder MODEL FOLDER\n";
    return 2;
  }
  constexpr std::size_t batch = 4;
  const auto tagger = q2l::Tagger::load(argv[1]);
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2]))
    paths.push_back(entry.path().string());
  std::ranges::sort(paths);

  std::vector<std::string> names;
  std::vector<q2l::Image> images;
  const auto tag_images = [&] {
    const std::vector<std::vector<q2l::Tag>> tags = tagger.tag(images);
    for (std::size_t i = 0; i < images.size(); ++i) {
      std::cout << names[i] << ':';
      for (const q2l::Tag& tag : tags[i]) std::cout << ' ' << tag.label;
      std::cout << '\n';
    }
    names.clear();
    images.clear();
  };
  for (const std::string& path : paths) {
    try {
      images.push_back(q2l::read_image(path));
      names.push_back(path);
    } catch (const q2l::Error& error) {
      std::cerr << error.what() << '\n';
    }
    if (images.size() == batch) tag_images();
  }
  if (!images.empty()) tag_images();
} catch (const std::exception& error) {  // a q2l::Error, or of the folder
  std::cerr << error.what() << '\n';
  return 1;
}
