// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/core/aligned_buffer.hpp>
#include <query2label/cuda/attention_block.cuh>
#include <vector>

#include "cuda/attention_example.hpp"

namespace q2l::test {

/// An operand as an arithmetic stores it, at an address that copies may read.
template <class Arithmetic>
AlignedBuffer<typename Arithmetic::Storage> stored(const AttentionOperand& operand) {
  AlignedBuffer<typename Arithmetic::Storage> bits(operand.values.size());
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = Arithmetic::encode(operand.values[i]);
  return bits;
}

/// Runs the blocks of the GPU's kernel one after the other on this machine.
template <class Tiling, bool IsWhole>
AttentionOutcome attend_on_host(const AttentionExample& example, bool with_maps = true,
                                bool is_reversed = false) {
  using Arithmetic = typename Tiling::Arithmetic;
  using Storage = typename Tiling::Storage;
  const AttentionExtents& e = example.extents;
  const auto q = stored<Arithmetic>(example.q);
  const auto k = stored<Arithmetic>(example.k);
  const auto v = stored<Arithmetic>(example.v);
  const auto width = static_cast<std::size_t>(e.width);
  AlignedBuffer<Storage> out(example.rows() * width);
  AttentionOutcome outcome;
  outcome.out.resize(out.size());
  if (with_maps) outcome.maps.resize(example.rows() * static_cast<std::size_t>(e.tokens));

  const auto rows = [](const Storage* data, const AttentionOperand& operand) {
    return cuda::HeadRows<const Storage>{data, operand.batch_stride(), operand.head_stride(),
                                         operand.stride};
  };
  const std::int64_t head_size = std::int64_t{e.queries} * e.width;
  const cuda::AttentionTask<Storage> task{e.batch,
                                          e.heads,
                                          e.queries,
                                          e.tokens,
                                          e.width,
                                          example.scale,
                                          rows(q.data(), example.q),
                                          rows(k.data(), example.k),
                                          rows(v.data(), example.v),
                                          {out.data(), e.heads * head_size, head_size, e.width},
                                          with_maps ? outcome.maps.data() : nullptr};
  AlignedBuffer<std::byte> shared(Tiling::shared_bytes);
  for (int image = 0; image < e.batch; ++image) {
    for (int head = 0; head < e.heads; ++head) {
      for (int i = 0; i < cuda::blocks_of_head<Tiling>(task); ++i) {
        // What an earlier block left must not matter: all bits set is a NaN in every format.
        for (std::byte& byte : shared.span()) byte = std::byte{0xFF};
        const auto place = cuda::place_of_block<Tiling>(e.queries, i, head, image);
        cuda::AttentionBlock<Tiling, IsWhole>(task, place, shared.data())
            .run(cuda::Block{is_reversed});
      }
    }
  }
  for (std::size_t i = 0; i < out.size(); ++i) outcome.out[i] = Arithmetic::decode(out[i]);
  return outcome;
}

}  // namespace q2l::test
