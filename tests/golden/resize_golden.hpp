// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>

#include "query2label/core/crc32.hpp"
#include "query2label/image/resize.hpp"
#include "support/recipe.hpp"

namespace q2l::test {

/// How our resized pictures differ from a golden file's.
struct ResizeGoldenErrors {
  std::size_t cases = 0;
  std::size_t wrong_checksums = 0;  ///< cases of which some byte differs
  int largest_sample_error = 0;     ///< of the bytes that the file lists, in steps of 255

  [[nodiscard]] bool ok() const {
    return cases > 0 && wrong_checksums == 0 && largest_sample_error == 0;
  }
};

/// The source picture of a case: noise, or blocks of 16 x 16 pixels of one colour.
inline Image resize_golden_source(const nlohmann::json& test) {
  const auto width = test.at("width").get<std::size_t>();
  const auto height = test.at("height").get<std::size_t>();
  const bool blocks = test.at("kind").get<std::string>() == "blocks";
  const std::size_t block = blocks ? 16 : 1;
  const std::size_t across = (width + block - 1) / block, down = (height + block - 1) / block;
  const std::vector<float> values = fill(blocks ? "blocks" : "image", across * down * 3, 0, 1,
                                         test.at("seed").get<std::uint64_t>());
  Image image{static_cast<int>(width), static_cast<int>(height), {}};
  image.rgb.reserve(width * height * 3);
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x)
      for (std::size_t c = 0; c < 3; ++c) {
        const double value = values[(y / block * across + x / block) * 3 + c];
        image.rgb.push_back(static_cast<std::uint8_t>(std::floor((value + 1) * 128)));
      }
  return image;
}

/// Resizes every case of a `resize.json` and compares. Throws if a source cannot be reproduced.
inline ResizeGoldenErrors check_resize_golden(const nlohmann::json& golden) {
  const auto checksum = [](const Image& image) {
    return crc32(std::as_bytes(std::span(image.rgb)));
  };
  ResizeGoldenErrors errors;
  for (const auto& test : golden.at("cases")) {
    const Image source = resize_golden_source(test);
    if (checksum(source) != test.at("crc32_source").get<std::uint32_t>())
      throw std::runtime_error("resize golden: the recipe gives another source");
    const Image resized =
        resize_bilinear(source, test.at("to_width").get<int>(), test.at("to_height").get<int>());
    ++errors.cases;
    if (checksum(resized) != test.at("crc32").get<std::uint32_t>()) ++errors.wrong_checksums;
    for (const auto& sample : test.at("samples")) {
      const int actual = resized.rgb.at(sample.at(0).get<std::size_t>());
      errors.largest_sample_error =
          std::max(errors.largest_sample_error, std::abs(actual - sample.at(1).get<int>()));
    }
  }
  return errors;
}

}  // namespace q2l::test
