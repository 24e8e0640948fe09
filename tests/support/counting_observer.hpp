// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <string_view>

#include "query2label/core/layer_observer.hpp"

namespace q2l::test {

/// Counts the layers it is shown.
class CountingObserver final : public LayerObserver {
 public:
  void observe(std::string_view, Matrix<const float> in, Matrix<const float> out) override {
    REQUIRE(in.data != nullptr);
    REQUIRE(out.data != nullptr);
    ++layers;
    rows = out.rows;
  }
  std::size_t layers = 0;
  std::size_t rows = 0;  ///< of the last one's output
};

}  // namespace q2l::test
