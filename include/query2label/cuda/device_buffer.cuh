// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "query2label/core/error.hpp"
#include "query2label/core/shape_check.hpp"

namespace q2l::cuda {

/// Throws Error gpu, or out_of_memory where that is the reason, if a call of the CUDA runtime
/// failed; `what` names the call.
inline void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  const bool is_memory = status == cudaErrorMemoryAllocation;
  throw Error(is_memory ? ErrorCode::out_of_memory : ErrorCode::gpu, cudaGetErrorString(status),
              {.subject = std::string(what), .actual = cudaGetErrorName(status)});
}

/// `size()` elements in the memory of the current GPU, freed with the buffer. Copies are ordered by
/// their stream; host memory must stay as it is until they are done. Throws as `check` does.
template <class T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  DeviceBuffer() = default;

  /// Elements of any value.
  explicit DeviceBuffer(std::size_t size) : size_(size) {
    require_argument(size <= static_cast<std::size_t>(-1) / sizeof(T), "DeviceBuffer",
                     "more elements than memory has addresses");
    if (size == 0) return;
    void* data = nullptr;
    check(cudaMalloc(&data, size * sizeof(T)), "cudaMalloc");
    data_.reset(static_cast<T*>(data));
  }

  /// Copies of `values`, there when the constructor returns.
  explicit DeviceBuffer(std::span<const T> values) : DeviceBuffer(values.size()) {
    upload(values);
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Begins to copy all elements from `values`. Throws Error bad_argument when sizes differ.
  void upload(std::span<const T> values, cudaStream_t stream = nullptr) {
    require_equal(values.size(), size_, "DeviceBuffer::upload: size of values");
    check(
        cudaMemcpyAsync(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream),
        "cudaMemcpyAsync");
  }

  /// Begins to copy all elements to `values`. Throws Error bad_argument when sizes differ.
  void download(std::span<T> values, cudaStream_t stream = nullptr) const {
    require_equal(values.size(), size_, "DeviceBuffer::download: size of values");
    check(
        cudaMemcpyAsync(values.data(), data(), values.size_bytes(), cudaMemcpyDeviceToHost, stream),
        "cudaMemcpyAsync");
  }

 private:
  struct Free {
    void operator()(T* data) const noexcept { cudaFree(data); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace q2l::cuda
