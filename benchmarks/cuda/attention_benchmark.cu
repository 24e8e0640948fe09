// SPDX-License-Identifier: MIT
// Times q2l::cuda::cross_attention on the attention shapes of Query2Label models, after checking
// some rows of each result against double precision on the host. Writes one line per shape and
// type, tab-separated: the median of 20 runs, TFLOP/s and GB/s with their shares of what a copy
// and a chain of products reach on this card.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <query2label/core/counter_random.hpp>
#include <query2label/cuda/cross_attention.cuh>
#include <query2label/cuda/device_buffer.cuh>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using q2l::cuda::check;
using q2l::cuda::DeviceBuffer;

struct Shape {
  int batch, queries, tokens, width;
};
constexpr int heads = 4;

/// Seconds of the median of 20 runs of `work(stream)`, after 3 more.
template <class Work>
double median_seconds(Work&& work) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> milliseconds;
  for (int i = 0; i < 23; ++i) {
    check(cudaEventRecord(begin), "cudaEventRecord");
    work();
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float time = 0.0f;
    check(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
    if (i >= 3) milliseconds.push_back(time);
  }
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  std::nth_element(milliseconds.begin(), milliseconds.begin() + 10, milliseconds.end());
  return milliseconds[10] * 1e-3;
}

/// Bytes a second of a copy within the card's memory, read and written.
double measured_bandwidth() {
  constexpr std::size_t size = std::size_t{1} << 30;
  DeviceBuffer<std::byte> from(size), to(size);
  return 2.0 * size / median_seconds([&] {
           check(cudaMemcpyAsync(to.data(), from.data(), size, cudaMemcpyDeviceToDevice, nullptr),
                 "copy");
         });
}

constexpr int chains = 8, chain_steps = 4096;

/// Independent chains of warp products whose operands stay in registers.
template <class Arithmetic>
__global__ void multiply_chains(float* out) {
  q2l::cuda::PerLane<q2l::cuda::Pack<float, 4 * chains>> sums{};
  if constexpr (q2l::cuda::on_tensor_cores<Arithmetic>) {
    q2l::cuda::Fragment a{}, b{};
    for (int step = 0; step < chain_steps; ++step) {
      Q2L_CUDA_UNROLL
      for (int c = 0; c < chains; ++c) {
        q2l::cuda::multiply_fragments<Arithmetic>(a, b, 0, sums, 4 * c);
      }
    }
  } else {
    const float x = out[0];
    for (int step = 0; step < chain_steps; ++step) {
      Q2L_CUDA_UNROLL
      for (float& sum : sums.values[0].values) sum = fmaf(sum, x, x);
    }
  }
  float total = 0.0f;
  for (const float sum : sums.values[0].values) total += sum;
  if (total == 1.0f) out[threadIdx.x] = total;
}

/// FLOP/s that warp products of registers reach: mma.sync on tensor cores, else fused
/// multiply-adds.
template <class Arithmetic>
double measured_peak() {
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "attribute");
  DeviceBuffer<float> out(256);
  check(cudaMemset(out.data(), 0, 256 * sizeof(float)), "cudaMemset");
  const int blocks = 4 * multiprocessors, warps = 8;
  constexpr bool is_wide = sizeof(typename Arithmetic::Storage) == 4;
  const double warp_step = Arithmetic::has_tensor_cores ? chains * 2.0 * 16 * 8 * (is_wide ? 8 : 16)
                                                        : chains * 4 * 2.0 * q2l::cuda::warp_lanes;
  const double seconds = median_seconds([&] {
    multiply_chains<Arithmetic><<<blocks, warps * q2l::cuda::warp_lanes>>>(out.data());
    check(cudaGetLastError(), "multiply_chains");
  });
  return warp_step * chain_steps * blocks * warps / seconds;
}

template <class Element>
DeviceBuffer<Element> filled(const char* name, std::size_t count, std::vector<float>& values) {
  values = q2l::counter_random(name, count, 0.0, 1.0, 1);
  std::vector<Element> elements(count);
  for (std::size_t i = 0; i < count; ++i) {
    elements[i] = static_cast<Element>(values[i]);
    values[i] = static_cast<float>(elements[i]);
  }
  return DeviceBuffer<Element>(std::span<const Element>(elements));
}

/// The largest error of one row's output against double precision.
double row_error(const Shape& s, const float* q, const float* k, const float* v, double scale,
                 const float* out) {
  const auto tokens = static_cast<std::size_t>(s.tokens), width = static_cast<std::size_t>(s.width);
  std::vector<double> weights(tokens);
  double max = -INFINITY, sum = 0.0, error = 0.0;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < width; ++c) weights[t] += double{q[c]} * k[t * width + c];
    weights[t] *= scale;
    max = std::max(max, weights[t]);
  }
  for (double& weight : weights) sum += weight = std::exp(weight - max);
  for (std::size_t c = 0; c < width; ++c) {
    double expected = 0.0;
    for (std::size_t t = 0; t < tokens; ++t) expected += weights[t] / sum * v[t * width + c];
    const double difference = std::abs(expected - out[c]);
    if (!(difference <= error)) error = difference;  // a NaN is kept
  }
  return error;
}

/// Checks and times one shape. Returns false if a result is wrong.
template <class Scalar, int Width>
bool run(const char* type, const Shape& s, double bandwidth, double peak) {
  using Operands = q2l::cuda::CrossAttentionOperands<Scalar>;
  using Element = typename Operands::Element;
  const auto pairs = static_cast<std::size_t>(s.batch * heads);
  const std::size_t query_size = static_cast<std::size_t>(s.queries) * Width;
  const std::size_t key_size = static_cast<std::size_t>(s.tokens) * Width;
  std::vector<float> q, k, v;
  const auto q_device = filled<Element>("q", pairs * query_size, q);
  const auto k_device = filled<Element>("k", pairs * key_size, k);
  const auto v_device = filled<Element>("v", pairs * key_size, v);
  DeviceBuffer<Element> out_device(pairs * query_size);
  const auto rows = [&](auto* data, int count) {
    const std::int64_t size = std::int64_t{count} * Width;
    return q2l::cuda::HeadRows<std::remove_pointer_t<decltype(data)>>{data, heads * size, size,
                                                                      Width};
  };
  Operands o;
  o.batch = s.batch;
  o.heads = heads;
  o.queries = s.queries;
  o.tokens = s.tokens;
  o.width = Width;
  o.scale = 1.0f / std::sqrt(static_cast<float>(Width));
  o.q = rows(q_device.data(), s.queries);
  o.k = rows(k_device.data(), s.tokens);
  o.v = rows(v_device.data(), s.tokens);
  o.out = rows(out_device.data(), s.queries);
  const double seconds =
      median_seconds([&] { q2l::cuda::cross_attention<Scalar, Width>(o, nullptr); });

  std::vector<Element> out(out_device.size());
  out_device.download(out);
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  double error = 0.0;
  for (const std::size_t row : {std::size_t{0}, pairs * static_cast<std::size_t>(s.queries) - 1}) {
    const std::size_t pair = row / static_cast<std::size_t>(s.queries);
    std::vector<float> values(Width);
    for (int c = 0; c < Width; ++c) {
      values[static_cast<std::size_t>(c)] =
          static_cast<float>(out[row * Width + static_cast<std::size_t>(c)]);
    }
    const double row_worst = row_error(s, &q[row * Width], &k[pair * key_size], &v[pair * key_size],
                                       o.scale, values.data());
    if (!(row_worst <= error)) error = row_worst;
  }
  const double tolerance = std::is_same_v<Scalar, float> ? 1e-5 : 1e-2;
  const double flops = 4.0 * static_cast<double>(pairs) * s.queries * s.tokens * Width;
  const double bytes =
      static_cast<double>(pairs * 2 * (query_size + key_size)) * double{sizeof(Element)};
  std::printf("%s\t%d\t%d\t%d\t%d\t%.4f\t%.1f\t%.0f\t%.0f\t%.0f\t%.1e\t%s\n", type, s.batch,
              s.queries, s.tokens, Width, seconds * 1e3, flops / seconds * 1e-12,
              100.0 * flops / seconds / peak, bytes / seconds * 1e-9,
              100.0 * bytes / seconds / bandwidth, error, error <= tolerance ? "ok" : "WRONG");
  return error <= tolerance;
}

template <class Scalar, class Arithmetic>
bool run_all(const char* type, double bandwidth) {
  const double peak = measured_peak<Arithmetic>();
  std::printf("# %s: %.0f TFLOP/s of products in registers\n", type, peak * 1e-12);
  bool is_right = true;
  for (const int batch : {1, 8, 64}) {
    is_right &= run<Scalar, 512>(type, {batch, 80, 196, 512}, bandwidth, peak);
    is_right &= run<Scalar, 512>(type, {batch, 20, 196, 512}, bandwidth, peak);
    is_right &= run<Scalar, 512>(type, {batch, 80, 324, 512}, bandwidth, peak);
    is_right &= run<Scalar, 608>(type, {batch, 80, 196, 608}, bandwidth, peak);
    is_right &= run<Scalar, 608>(type, {batch, 500, 400, 608}, bandwidth, peak);
    is_right &= run<Scalar, 384>(type, {batch, 80, 144, 384}, bandwidth, peak);
    is_right &= run<Scalar, 256>(type, {batch, 81, 576, 256}, bandwidth, peak);
  }
  is_right &= run<Scalar, 512>(type, {1, 9605, 196, 512}, bandwidth, peak);
  return is_right;
}

}  // namespace

int main() {
  constexpr int skipped = 77, failed = 1;
  try {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      std::puts("no GPU here");
      return skipped;
    }
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    const double bandwidth = measured_bandwidth();
    std::printf("# %s: %.0f GB/s copying\n", device.name, bandwidth * 1e-9);
    std::puts("type\tbatch\tqueries\ttokens\twidth\tms\tTFLOP/s\t%peak\tGB/s\t%copy\terror\tcheck");
    bool is_right = run_all<float, q2l::cuda::F32Arithmetic>("f32", bandwidth);
    is_right &= run_all<q2l::cuda::tf32, q2l::cuda::Tf32Arithmetic>("tf32", bandwidth);
    is_right &= run_all<__half, q2l::cuda::F16Arithmetic>("f16", bandwidth);
    is_right &= run_all<__nv_bfloat16, q2l::cuda::Bf16Arithmetic>("bf16", bandwidth);
    return is_right ? 0 : failed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return failed;
  }
}
