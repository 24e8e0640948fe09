// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "cuda/gpu_attention.cuh"

TEMPLATE_TEST_CASE_SIG("Cross-attention in bf16 is right on a GPU", "[gpu]", ((int Width), Width),
                       64, 128, 256, 384, 512, 608, 2048) {
  q2l::test::check_all_on_gpu<__nv_bfloat16, Width>(Width);
}

TEST_CASE("Cross-attention in bf16 of any width is right on a GPU", "[gpu]") {
  for (const int width : {16, 80, 256, 400}) {
    q2l::test::check_all_on_gpu<__nv_bfloat16, q2l::cuda::any_width>(width);
  }
}
