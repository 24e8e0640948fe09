// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <query2label/cuda/cross_attention.cuh>
#include <query2label/cuda/device_buffer.cuh>
#include <string>
#include <vector>

#include "support/error_of.hpp"

using q2l::ErrorCode;
using q2l::cuda::CrossAttentionOperands;
using q2l::cuda::DeviceBuffer;
using q2l::test::error_of;

namespace {

/// Operands that would fit; none is ever read.
CrossAttentionOperands<__half> operands() {
  alignas(16) static __half elements[16];
  CrossAttentionOperands<__half> o;
  o.width = 64;
  o.q = o.k = o.v = {elements, 64, 64, 64};
  o.out = {elements, 64, 64, 64};
  return o;
}

template <int HeadWidth = q2l::cuda::any_width>
std::string refused(const CrossAttentionOperands<__half>& o) {
  const q2l::Error error =
      error_of([&] { q2l::cuda::cross_attention<__half, HeadWidth>(o, nullptr); });
  CHECK(error.code() == ErrorCode::bad_argument);
  return error.place().subject;
}

}  // namespace

TEST_CASE("The GPU's cross-attention refuses operands that do not fit", "[cuda]") {
  const std::string op = "cross_attention";
  using Operands = CrossAttentionOperands<__half>;
  for (int Operands::*extent : {&Operands::batch, &Operands::heads, &Operands::queries,
                                &Operands::tokens, &Operands::width}) {
    for (const int value : {0, -1, std::numeric_limits<int>::max()}) {
      Operands o = operands();
      o.*extent = value;
      CHECK(refused(o) == op);
    }
  }
  Operands o = operands();
  o.width = 72;
  CHECK(refused(o) == op);
  o.width = 128;
  CHECK(refused<64>(o) == op + ": width of operands");
  o = operands();
  o.q.data += 1;
  CHECK(refused(o) == op + ": q");
  o = operands();
  o.k.row_stride = 65;
  CHECK(refused(o) == op + ": k");
  o = operands();
  o.v.data = nullptr;
  CHECK(refused(o) == op + ": v");
  o = operands();
  o.out.head_stride = 4;
  CHECK(refused(o) == op + ": out");
  o = operands();
  float mean = 0.0f;
  o.mean_maps = &mean;
  CHECK(refused(o) == op);
}

TEST_CASE("Failures of the CUDA runtime become errors", "[cuda]") {
  q2l::cuda::check(cudaSuccess, "fine");
  const q2l::Error refused =
      error_of([] { q2l::cuda::check(cudaErrorInvalidConfiguration, "a launch"); });
  CHECK(refused.code() == ErrorCode::gpu);
  CHECK(refused.place().subject == "a launch");
  CHECK(refused.place().actual == "cudaErrorInvalidConfiguration");
  const q2l::Error full = error_of([] { q2l::cuda::check(cudaErrorMemoryAllocation, "malloc"); });
  CHECK(full.code() == ErrorCode::out_of_memory);
}

TEST_CASE("A device buffer refuses sizes that do not fit", "[cuda]") {
  CHECK(error_of([] {
          DeviceBuffer<double> buffer(std::numeric_limits<std::size_t>::max());
        }).code() == ErrorCode::bad_argument);
  DeviceBuffer<float> empty;
  std::vector<float> one(1);
  CHECK(error_of([&] { empty.upload(one); }).place().subject ==
        "DeviceBuffer::upload: size of values");
  CHECK(error_of([&] { empty.download(one); }).place().subject ==
        "DeviceBuffer::download: size of values");
}

TEST_CASE("A device buffer brings back what it was given", "[gpu]") {
  const std::vector<int> values{3, 1, 4, 1, 5};
  DeviceBuffer<int> buffer{std::span<const int>(values)};
  std::vector<int> back(5);
  buffer.download(back);
  q2l::cuda::check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  CHECK(back == values);
  CHECK(error_of([] { DeviceBuffer<char> huge(std::size_t{1} << 60); }).code() ==
        ErrorCode::out_of_memory);
}
