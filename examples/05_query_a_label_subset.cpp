// SPDX-License-Identifier: MIT
// Lesson: the two steps of the paper. A picture is encoded once, then asked for some labels only,
// which costs in proportion and gives the same numbers as asking for all.
// Usage: 05_query_a_label_subset MODEL PICTURE LABEL...
#include <iostream>
#include <query2label/head/probability.hpp>
#include <query2label/image/preprocess.hpp>
#include <query2label/model/query2label_model.hpp>
#include <query2label/model/session.hpp>
#include <query2label/query2label.hpp>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cerr << "usage: 05_query_a_label_subset MODEL PICTURE LABEL...\n";
    return 2;
  }
  const auto tagger = q2l::Tagger::load(argv[1]);
  const q2l::ModelConfig& config = tagger.config();
  q2l::QueryOptions options;
  for (int i = 3; i < argc; ++i) options.labels.push_back(tagger.labels().index_of(argv[i]));

  const std::size_t side = config.image_size;
  std::vector<float> pixels(side * side * 3);
  q2l::preprocess_into(q2l::read_image(argv[2]), side, config.normalization, pixels);

  q2l::Session session(tagger.model(), tagger.runner(), tagger.threads());
  const q2l::Memory<float> memory = session.encode({pixels.data(), 1, side, side, 3});
  const q2l::QueryResult<float> some = session.query(memory, options);
  const q2l::QueryResult<float> all = session.query(memory);
  for (std::size_t i = 0; i < options.labels.size(); ++i) {
    const std::size_t k = options.labels[i];
    std::cout << tagger.labels()[k] << ' ' << q2l::probability(some.logits[i]) << '\n';
    if (some.logits[i] != all.logits[k]) {
      std::cerr << "a subset must give the bits that all labels give\n";
      return 1;
    }
  }
} catch (const q2l::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
