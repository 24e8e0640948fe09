// SPDX-License-Identifier: MIT
// Lesson: where the model looked. For each tag of a picture, the attention of its label over the
// token grid, drawn with characters. Usage: 04_attention_maps MODEL PICTURE
#include <algorithm>
#include <iostream>
#include <query2label/query2label.hpp>
#include <string_view>

namespace {

void draw(const q2l::AttentionMap& map) {
  constexpr std::string_view shades = " .:-=+*#%@";
  const float largest = *std::max_element(map.values.begin(), map.values.end());
  for (std::size_t y = 0; y < map.height; ++y) {
    std::cout << "  ";
    for (std::size_t x = 0; x < map.width; ++x) {
      const float share = map.values[y * map.width + x] / largest;
      const char shade = shades[static_cast<std::size_t>(share * 9.0f)];
      std::cout << shade << shade;
    }
    std::cout << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: 04_attention_maps MODEL PICTURE\n";
    return 2;
  }
  const auto tagger = q2l::Tagger::load(argv[1]);
  const q2l::Explanation seen = tagger.explain(q2l::read_image(argv[2]));
  for (std::size_t i = 0; i < seen.tags.size(); ++i) {
    std::cout << seen.tags[i].label << '\n';
    draw(seen.maps[i]);
  }
} catch (const q2l::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
