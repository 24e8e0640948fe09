// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "query2label/core/shape_check.hpp"
#include "query2label/cuda/attention_block.cuh"
#include "query2label/cuda/attention_tiling.cuh"
#include "query2label/cuda/device_buffer.cuh"

namespace q2l::cuda {

/// Names f32 operands whose products may be taken on tensor cores in tf32: factors rounded to 10
/// fraction bits, sums in f32.
struct tf32 {};

/// The head width that stands for any multiple of 16, known only when called.
inline constexpr int any_width = 0;

namespace detail {

template <class Scalar>
struct ArithmeticOf;
template <>
struct ArithmeticOf<float> {
  using Type = F32Arithmetic;
};
template <>
struct ArithmeticOf<tf32> {
  using Type = Tf32Arithmetic;
};
template <>
struct ArithmeticOf<__half> {
  using Type = F16Arithmetic;
};
template <>
struct ArithmeticOf<__nv_bfloat16> {
  using Type = Bf16Arithmetic;
};

}  // namespace detail

/// The operands of `cross_attention`, in GPU memory:
///   q [N or 1, A, K, w], k and v [N or 1, A or 1, T, w] -> out [N, A, K, w]
/// with any strides; 0 shares an operand between images or heads. Queries that are constants of a
/// model have batch stride 0. The reassociated form (ops/cross_attention.hpp, project_labels) is
/// w = D, q_h Wk_h as queries, and m + pos and m as keys and values with head stride 0.
template <class Scalar>
struct CrossAttentionOperands {
  using Element = std::conditional_t<std::is_same_v<Scalar, tf32>, float, Scalar>;

  int batch = 1;    ///< N
  int heads = 1;    ///< A
  int queries = 1;  ///< K
  int tokens = 1;   ///< T
  int width = 0;    ///< w
  float scale = 1.0f;
  HeadRows<const Element> q, k, v;
  HeadRows<Element> out;       ///< must not overlap the operands
  float* maps = nullptr;       ///< attention weights [N, A, K, T], or null
  float* mean_maps = nullptr;  ///< their means over heads [N, K, T], or null; needs `maps`
};

namespace detail {

template <class Tiling, bool IsWhole>
__global__ void __launch_bounds__(Tiling::threads, Tiling::resident_blocks)
    attend(const __grid_constant__ AttentionTask<typename Tiling::Storage> task) {
  extern __shared__ __align__(copy_bytes) std::byte shared[];
  const BlockPlace place =
      place_of_block<Tiling>(task.queries, static_cast<int>(blockIdx.x),
                             static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z));
  AttentionBlock<Tiling, IsWhole>(task, place, shared).run(Block{});
}

/// mean_maps [N, K, T] from maps [N, A, K, T]; `size` is K T. Sums heads in their order.
template <class Map>
__global__ void average_heads(const Map* maps, Map* mean_maps, int heads, std::int64_t size) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size) return;
  const Map* const map = maps + static_cast<std::int64_t>(blockIdx.y) * heads * size + i;
  Map sum = 0;
  for (int h = 0; h < heads; ++h) sum += map[h * size];
  mean_maps[static_cast<std::int64_t>(blockIdx.y) * size + i] = sum / static_cast<Map>(heads);
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes,
            cudaStream_t stream, const char* what, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), what);
}

template <class Tiling, bool IsWhole>
void launch_attention(const AttentionTask<typename Tiling::Storage>& task, cudaStream_t stream) {
  void (*const kernel)(AttentionTask<typename Tiling::Storage>) = attend<Tiling, IsWhole>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Tiling::shared_bytes),
        "cross_attention: shared memory");
  const dim3 grid(static_cast<unsigned>(blocks_of_head<Tiling>(task)),
                  static_cast<unsigned>(task.heads), static_cast<unsigned>(task.batch));
  launch(kernel, grid, Tiling::threads, Tiling::shared_bytes, stream, "cross_attention: launch",
         task);
}

/// For any width, and for cards whose shared memory is too small for a whole head.
template <class Arithmetic>
using SlicedTiling =
    AttentionTiling<Arithmetic, sizeof(typename Arithmetic::Storage) == 2 ? 256 : 128, 16, 16>;

/// Fits the registers of a lane beside everything else, and the largest shared memory (9.0).
template <class Tiling>
inline constexpr bool is_possible = Tiling::lane_sums <= 128 && Tiling::shared_bytes <= 227 * 1024;

/// Launches the kernel that holds a whole head in shared memory if a block may have that much.
template <class Tiling>
bool launch_whole(const AttentionTask<typename Tiling::Storage>& task, int largest_shared_bytes,
                  cudaStream_t stream) {
  if constexpr (is_possible<Tiling>) {
    if (Tiling::shared_bytes > largest_shared_bytes) return false;
    launch_attention<Tiling, true>(task, stream);
    return true;
  } else {
    return false;
  }
}

template <class Element>
void require_copyable(const HeadRows<Element>& rows, const char* what) {
  constexpr std::int64_t step = copy_bytes / sizeof(Element);
  require_argument(rows.data != nullptr, what, "is null");
  require_argument(reinterpret_cast<std::uintptr_t>(rows.data) % copy_bytes == 0 &&
                       rows.batch_stride % step == 0 && rows.head_stride % step == 0 &&
                       rows.row_stride % step == 0,
                   what, "the address and all strides must be multiples of 16 bytes");
}

template <class To, class From>
HeadRows<To> as_bits(const HeadRows<From>& rows) {
  return {reinterpret_cast<To*>(rows.data), rows.batch_stride, rows.head_stride, rows.row_stride};
}

template <class Scalar>
AttentionTask<typename ArithmeticOf<Scalar>::Type::Storage> checked_task(
    const CrossAttentionOperands<Scalar>& o, int head_width) {
  constexpr int largest_grid = 65535;
  constexpr const char* op = "cross_attention";
  require_argument(o.batch > 0 && o.batch <= largest_grid, op, "takes 1 to 65535 images");
  require_argument(o.heads > 0 && o.heads <= largest_grid, op, "takes 1 to 65535 heads");
  require_argument(o.queries > 0 && o.tokens > 0, op, "needs at least one query and one key");
  require_argument(o.queries <= 1 << 24 && o.tokens <= 1 << 24, op,
                   "takes at most 2^24 queries and keys");
  require_argument(o.width > 0 && o.width <= 1 << 16 && o.width % 16 == 0, op,
                   "the head width must be a multiple of 16, 65536 at most");
  if (head_width != any_width) {
    require_equal(static_cast<std::size_t>(o.width), static_cast<std::size_t>(head_width),
                  "cross_attention: width of operands");
  }
  require_copyable(o.q, "cross_attention: q");
  require_copyable(o.k, "cross_attention: k");
  require_copyable(o.v, "cross_attention: v");
  require_copyable(o.out, "cross_attention: out");
  require_argument(!o.mean_maps || o.maps, op, "mean maps need room for the maps of the heads");
  using Storage = typename ArithmeticOf<Scalar>::Type::Storage;
  return {o.batch,
          o.heads,
          o.queries,
          o.tokens,
          o.width,
          o.scale,
          as_bits<const Storage>(o.q),
          as_bits<const Storage>(o.k),
          as_bits<const Storage>(o.v),
          as_bits<Storage>(o.out),
          o.maps};
}

}  // namespace detail

/// Attention of K queries over T tokens for each image and head:
///   out [N, A, K, w] = softmax(scale q k^T) v
/// Scalar: float, tf32, __half or __nv_bfloat16; sums and softmax are f32. HeadWidth: w where it is
/// known when compiling (one pass over keys and values), or `any_width`. The work is put on
/// `stream` and nothing is waited for or allocated. The same operands give the same bits, whatever
/// runs beside and however many images there are. The rounding of f32: a score has the error of a
/// sum of w products, relative to the sum of their magnitudes; that of a score s is a relative one
/// of its weight, to which the softmax adds (T + 2 |s| + 6) eps. 16-bit weights are rounded once
/// more before they multiply the values.
/// Throws Error bad_argument when operands do not fit or are not aligned, Error gpu when the card
/// refuses the launch. What fails on the GPU later, the next call that waits for it reports.
template <class Scalar, int HeadWidth = any_width>
void cross_attention(const CrossAttentionOperands<Scalar>& operands, cudaStream_t stream) {
  static_assert(HeadWidth >= 0 && HeadWidth % 16 == 0, "head widths are multiples of 16");
  using Arithmetic = typename detail::ArithmeticOf<Scalar>::Type;
  const auto task = detail::checked_task(operands, HeadWidth);

  bool is_done = false;
  if constexpr (HeadWidth != any_width) {
    int device = 0, shared_bytes = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "cudaDeviceGetAttribute");
    // As many queries a block as possible, so that keys and values are read rarely.
    using Large = AttentionTiling<Arithmetic, HeadWidth, 32, 16>;
    using Small = AttentionTiling<Arithmetic, HeadWidth, 16, 16>;
    is_done = detail::launch_whole<Large>(task, shared_bytes, stream) ||
              detail::launch_whole<Small>(task, shared_bytes, stream);
  }
  if (!is_done) detail::launch_attention<detail::SlicedTiling<Arithmetic>, false>(task, stream);
  if (!operands.mean_maps) return;

  constexpr int threads = 256;
  const std::int64_t size = static_cast<std::int64_t>(task.queries) * task.tokens;
  const auto blocks = static_cast<unsigned>((size + threads - 1) / threads);
  const dim3 grid(blocks, static_cast<unsigned>(task.batch));
  const float* const maps = task.maps;
  detail::launch(detail::average_heads<float>, grid, threads, 0, stream,
                 "cross_attention: mean maps", maps, operands.mean_maps, task.heads, size);
}

}  // namespace q2l::cuda
