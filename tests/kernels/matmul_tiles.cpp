// SPDX-License-Identifier: MIT
// Every register tile of the products, for tools/check_hot_loops.py to look at its machine code.
#include <cstddef>
#include <cstdint>

#include "query2label/core/bfloat16.hpp"
#include "query2label/kernels/matmul_tile.hpp"
#include "query2label/simd/arch.hpp"

template <class W>
auto tile(std::size_t rows, std::size_t vectors) {
  return q2l::kernels::matmul_tile_function<float, W, q2l::simd::DefaultArch>(rows, vectors);
}
template auto tile<float>(std::size_t, std::size_t);
template auto tile<q2l::bfloat16>(std::size_t, std::size_t);
template auto tile<std::int8_t>(std::size_t, std::size_t);
