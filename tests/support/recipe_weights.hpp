// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <query2label/weights/weight_map.hpp>
#include <string>

#include "support/recipe.hpp"

namespace q2l::test {

/// Writes the tensors of PyTorch's layers into a map, filled by the recipe so that activations keep
/// their size.
class RecipeWeights {
 public:
  explicit RecipeWeights(WeightMap& weights) : weights_(weights) {}

  void add(const std::string& name, const WeightMap::Shape& shape, double offset, double scale) {
    std::size_t count = 1;
    for (const std::uint64_t extent : shape) count *= static_cast<std::size_t>(extent);
    weights_.add(name, shape, [=] { return fill(name, count, offset, scale, 1); });
  }
  void linear(const std::string& name, std::size_t in, std::size_t out, bool bias = true) {
    add(name + ".weight", {out, in}, 0.0, unit_scale(in));
    if (bias) add(name + ".bias", {out}, 0.0, 0.2);
  }
  void conv2d(const std::string& name, std::size_t in, std::size_t out, std::size_t kernel) {
    add(name + ".weight", {out, in, kernel, kernel}, 0.0, unit_scale(in * kernel * kernel));
    add(name + ".bias", {out}, 0.0, 0.2);
  }
  void layer_norm(const std::string& name, std::size_t width) {
    add(name + ".weight", {width}, 1.0, 0.2);
    add(name + ".bias", {width}, 0.0, 0.2);
  }
  void batch_norm(const std::string& name, std::size_t channels) {
    layer_norm(name, channels);
    add(name + ".running_mean", {channels}, 0.0, 0.2);
    add(name + ".running_var", {channels}, 1.0, 0.5);
  }

 private:
  static double unit_scale(std::size_t fan_in) {
    return std::sqrt(3.0 / static_cast<double>(fan_in));
  }

  WeightMap& weights_;
};

}  // namespace q2l::test
