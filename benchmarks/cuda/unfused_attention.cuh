// SPDX-License-Identifier: MIT
#pragma once

#include <cublas_v2.h>

#include <cmath>
#include <cstdint>
#include <query2label/cuda/cross_attention.cuh>
#include <query2label/cuda/device_buffer.cuh>
#include <type_traits>

// What a framework runs where no fused attention takes the shape: cuBLAS products and a softmax.

namespace q2l::bench {

inline void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorCode::gpu, cublasGetStatusString(status), {.subject = what});
}

/// Row-major products of cuBLAS with f32 sums. Scalar as for cross_attention.
template <class Scalar>
class Products {
 public:
  using Element = typename cuda::CrossAttentionOperands<Scalar>::Element;

  Products() { check(cublasCreate(&handle_), "cublasCreate"); }
  ~Products() { cublasDestroy(handle_); }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  /// c [batch, rows, columns] = scale a b; a [batch, rows, depth]; b [batch, depth, columns], or
  /// [batch, columns, depth] if it is transposed. All are dense.
  void multiply(int batch, int rows, int columns, int depth, float scale, const Element* a,
                const Element* b, bool is_b_transposed, Element* c) const {
    constexpr float zero = 0.0f;
    // cuBLAS counts by columns, so that it is asked for c^T = scale b^T a^T.
    check(
        cublasGemmStridedBatchedEx(
            handle_, is_b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N, columns, rows, depth,
            &scale, b, type, is_b_transposed ? depth : columns,
            static_cast<std::int64_t>(columns) * depth, a, type, depth,
            static_cast<std::int64_t>(rows) * depth, &zero, c, type, columns,
            static_cast<std::int64_t>(rows) * columns, batch,
            std::is_same_v<Scalar, cuda::tf32> ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
            CUBLAS_GEMM_DEFAULT),
        "cublasGemmStridedBatchedEx");
  }

 private:
  static constexpr cudaDataType_t type = std::is_same_v<Element, __half>          ? CUDA_R_16F
                                         : std::is_same_v<Element, __nv_bfloat16> ? CUDA_R_16BF
                                                                                  : CUDA_R_32F;
  cublasHandle_t handle_ = nullptr;
};

/// Each row [columns] becomes its softmax, computed in f32; one warp a row.
template <class Element>
__global__ void softmax_rows(Element* rows, int columns) {
  Element* const row = rows + static_cast<std::int64_t>(blockIdx.x) * columns;
  const int lane = static_cast<int>(threadIdx.x);
  float max = -INFINITY, sum = 0.0f;
  for (int c = lane; c < columns; c += 32) max = fmaxf(max, static_cast<float>(row[c]));
  for (int mask = 16; mask > 0; mask /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, mask));
  for (int c = lane; c < columns; c += 32) sum += expf(static_cast<float>(row[c]) - max);
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(~0u, sum, mask);
  for (int c = lane; c < columns; c += 32) {
    row[c] = static_cast<Element>(expf(static_cast<float>(row[c]) - max) / sum);
  }
}

/// out = softmax(scale q k^T) v of dense q, out [batch heads, K, w] and k, v [batch heads, T, w],
/// on the default stream; scores are stored as Element.
template <class Scalar>
class UnfusedAttention {
 public:
  using Element = typename Products<Scalar>::Element;

  UnfusedAttention(int pairs, int queries, int tokens, int width)
      : pairs_(pairs),
        queries_(queries),
        tokens_(tokens),
        width_(width),
        scores_(static_cast<std::size_t>(pairs) * static_cast<std::size_t>(queries) *
                static_cast<std::size_t>(tokens)) {}

  void run(float scale, const Element* q, const Element* k, const Element* v, Element* out) {
    products_.multiply(pairs_, queries_, tokens_, width_, scale, q, k, true, scores_.data());
    softmax_rows<<<static_cast<unsigned>(pairs_ * queries_), 32>>>(scores_.data(), tokens_);
    cuda::check(cudaGetLastError(), "softmax_rows");
    products_.multiply(pairs_, queries_, width_, tokens_, 1.0f, scores_.data(), v, false, out);
  }

 private:
  Products<Scalar> products_;
  int pairs_, queries_, tokens_, width_;
  cuda::DeviceBuffer<Element> scores_;
};

}  // namespace q2l::bench
