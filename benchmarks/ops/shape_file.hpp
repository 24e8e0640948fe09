// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace q2l::benchmarks {

/// One line of benchmarks/shapes/NAME.txt, whose heading says what the sizes are.
struct LayerShape {
  std::string kind;   ///< conv, depthwise, linear or attention
  std::string stage;  ///< backbone, encoder or decoder
  std::size_t count = 0;
  std::vector<std::size_t> sizes;

  /// Height or width of a convolution's output.
  [[nodiscard]] std::size_t output(std::size_t input) const {
    const std::size_t last = sizes.size();
    const std::size_t kernel = sizes[last - 5], stride = sizes[last - 4], padding = sizes[last - 3];
    return (input + 2 * padding - kernel) / stride + 1;
  }

  /// Of one of the `count` layers.
  [[nodiscard]] std::uint64_t multiply_adds() const {
    if (kind == "linear") return std::uint64_t{sizes[0]} * sizes[1] * sizes[2];
    if (kind == "attention")
      return std::uint64_t{2} * sizes[0] * sizes[1] * sizes[2] * sizes[3] * sizes[4];
    const std::size_t last = sizes.size();
    const std::uint64_t kernel = sizes[last - 5];
    const std::uint64_t filters = kind == "conv" ? sizes[0] * sizes[1] : sizes[0];
    return filters * kernel * kernel * output(sizes[last - 2]) * output(sizes[last - 1]);
  }

  /// The line without its stage and count.
  [[nodiscard]] std::string name() const {
    std::string text = kind;
    for (const std::size_t size : sizes) text += ' ' + std::to_string(size);
    return text;
  }
};

/// Throws std::runtime_error for what is not such a file.
inline std::vector<LayerShape> read_shape_file(const std::string& path) {
  std::ifstream file(path);
  std::vector<LayerShape> shapes;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    LayerShape shape;
    words >> shape.kind >> shape.stage >> shape.count;
    for (std::size_t size = 0; words >> size;) shape.sizes.push_back(size);
    const std::size_t expected = shape.kind == "conv"        ? 7
                                 : shape.kind == "depthwise" ? 6
                                 : shape.kind == "linear"    ? 3
                                 : shape.kind == "attention" ? 5
                                                             : 0;
    if (shape.count == 0 || expected == 0 || shape.sizes.size() != expected)
      throw std::runtime_error(path + ": not a layer: " + line);
    shapes.push_back(std::move(shape));
  }
  if (shapes.empty()) throw std::runtime_error(path + ": no layers");
  return shapes;
}

}  // namespace q2l::benchmarks
