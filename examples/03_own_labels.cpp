// SPDX-License-Identifier: MIT
// Lesson: names and thresholds of one's own. A file names the labels in the model's order, in
// another language for example; a label that must not be missed gets a low threshold.
// Usage: 03_own_labels MODEL PICTURE LABEL...
#include <filesystem>
#include <fstream>
#include <iostream>
#include <query2label/query2label.hpp>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cerr << "usage: 03_own_labels MODEL PICTURE LABEL...\n";
    return 2;
  }
  const q2l::LabelSet labels = q2l::Tagger::load(argv[1]).labels();
  std::vector<float> thresholds(labels.size(), 0.5f);
  for (int i = 3; i < argc; ++i) thresholds[labels.index_of(argv[i])] = 0.01f;

  const auto file = std::filesystem::temp_directory_path() / "query2label_own_labels.txt";
  std::ofstream names(file);
  for (const std::string& label : labels) names << "a picture of: " << label << '\n';
  names.close();
  const auto tagger =
      q2l::Tagger::load(argv[1], {.labels_path = file.string(), .thresholds = thresholds});
  std::filesystem::remove(file);

  for (const q2l::Tag& tag : tagger.tag(q2l::read_image(argv[2]))) {
    std::cout << tag.label << ' ' << tag.score << '\n';
    if (tag.score < thresholds[tag.index]) return 1;
  }
} catch (const q2l::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
