// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <string>

#include "cuda/golden_attention.hpp"
#include "cuda/gpu_attention.cuh"

using namespace q2l::test;

TEST_CASE("Golden models decode with their attention on a GPU", "[gpu]") {
  for (const std::string name : small_goldens) {
    const std::string path = std::string(Q2L_TESTS_DIR) + "/golden/" + name + ".json";
    for (const bool is_reassociated : {false, true}) {
      const GoldenReport report =
          check_golden_attention(path, is_reassociated, [](const AttentionExample& example) {
            const auto outcome = GpuAttention<float, q2l::cuda::any_width>(example).run();
            return AttentionOutcome{outcome.out, outcome.maps};
          });
      for (const auto& quantity : report.quantities) {
        CAPTURE(name, is_reassociated, quantity.name);
        CHECK(quantity.error <= quantity.bound);
      }
      CHECK(report.quantities.size() == 2);
    }
  }
}
