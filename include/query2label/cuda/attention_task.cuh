// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "query2label/cuda/lanes.cuh"

namespace q2l::cuda {

/// Rows of `width` neighbouring elements, [batch, heads, rows, width]. A stride of 0 shares what
/// lies there. `data` and all strides are multiples of 16 bytes.
template <class Element>
struct HeadRows {
  Element* data = nullptr;
  std::int64_t batch_stride = 0;  ///< elements from image to image
  std::int64_t head_stride = 0;   ///< elements from head to head
  std::int64_t row_stride = 0;    ///< elements from row to row
};

/// What a kernel is told: extents and operands, as bits where they are 16 wide.
template <class Storage>
struct AttentionTask {
  int batch, heads, queries, tokens, width;
  float scale;
  HeadRows<const Storage> q, k, v;
  HeadRows<Storage> out;
  float* maps;  ///< [batch, heads, queries, tokens], or null
};

/// The part of a task that a block does.
struct BlockPlace {
  int image, head, first_row, first_column;
};

/// How many blocks share the work of a head of an image.
template <class Tiling>
int blocks_of_head(const AttentionTask<typename Tiling::Storage>& task) {
  return (task.queries + Tiling::rows - 1) / Tiling::rows *
         ((task.width + Tiling::columns - 1) / Tiling::columns);
}

#if defined(__CUDACC__)
inline namespace on_device {
#else
inline namespace on_host {
#endif

/// The place of the block with number `index` of a head. Blocks of the same output columns follow
/// each other, so that they find keys and values in the cache.
template <class Tiling>
Q2L_DEVICE BlockPlace place_of_block(int queries, int index, int head, int image) {
  const int row_blocks = (queries + Tiling::rows - 1) / Tiling::rows;
  return {image, head, index % row_blocks * Tiling::rows, index / row_blocks * Tiling::columns};
}

}  // namespace on_device or on_host

}  // namespace q2l::cuda
