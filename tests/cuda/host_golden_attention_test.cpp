// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <string>

#include "cuda/golden_attention.hpp"
#include "cuda/host_attention.hpp"

using namespace q2l::test;
using q2l::cuda::AttentionTiling;
using q2l::cuda::F32Arithmetic;

TEST_CASE("Golden models decode with the GPU's attention run on the host", "[cuda]") {
  for (const std::string name : small_goldens) {
    const std::string path = std::string(Q2L_TESTS_DIR) + "/golden/" + name + ".json";
    for (const bool is_reassociated : {false, true}) {
      const GoldenReport report =
          check_golden_attention(path, is_reassociated, [](const AttentionExample& example) {
            if (example.extents.width == 128) {
              return attend_on_host<AttentionTiling<F32Arithmetic, 128, 32, 16>, true>(example);
            }
            return attend_on_host<AttentionTiling<F32Arithmetic, 128, 16, 16>, false>(example);
          });
      for (const auto& quantity : report.quantities) {
        CAPTURE(name, is_reassociated, quantity.name);
        CHECK(quantity.error <= quantity.bound);
      }
      CHECK(report.quantities.size() == 2);
    }
  }
}
