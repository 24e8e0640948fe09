// SPDX-License-Identifier: MIT
// Times q2l::cuda::cross_attention and cuBLAS products with a softmax on the attention shapes of
// Query2Label models, and compares some rows of both with double precision on the host. Writes one
// line per shape and type, tab-separated: medians of 20 runs, TFLOP/s and GB/s, their shares of
// what a large product and a copy reach on this card, the share of the time that the tighter of
// these two limits allows, and the largest errors. Fails if ours is over twice that of cuBLAS.
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

#include "unfused_attention.cuh"

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

/// FLOP/s of a large product by cuBLAS, which uses all that the card has.
template <class Scalar>
double measured_peak() {
  constexpr int side = 8192;
  constexpr std::size_t size = std::size_t{side} * side;
  const q2l::bench::Products<Scalar> products;
  using Element = typename q2l::bench::Products<Scalar>::Element;
  DeviceBuffer<Element> a(size), b(size), c(size);
  for (auto* operand : {&a, &b}) {
    check(cudaMemset(operand->data(), 0x3C, size * sizeof(Element)), "cudaMemset");  // about 1
  }
  const double seconds = median_seconds(
      [&] { products.multiply(1, side, side, side, 1.0f, a.data(), b.data(), true, c.data()); });
  return 2.0 * side * side * side / seconds;
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

/// Checks and times one shape. Returns false if ours is wrong.
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

  /// The largest error of 16 rows of what lies in `out_device`.
  const auto largest_error = [&] {
    std::vector<Element> out(out_device.size());
    out_device.download(out);
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
    const std::size_t count = pairs * static_cast<std::size_t>(s.queries);
    double error = 0.0;
    for (std::size_t i = 0; i < 16; ++i) {
      const std::size_t row = i * (count - 1) / 15;
      const std::size_t pair = row / static_cast<std::size_t>(s.queries);
      const std::vector<float> values(&out[row * Width], &out[row * Width] + Width);
      const double one = row_error(s, &q[row * Width], &k[pair * key_size], &v[pair * key_size],
                                   o.scale, values.data());
      if (!(one <= error)) error = one;  // a NaN is kept
    }
    return error;
  };
  const double seconds =
      median_seconds([&] { q2l::cuda::cross_attention<Scalar, Width>(o, nullptr); });
  const double error = largest_error();
  q2l::bench::UnfusedAttention<Scalar> unfused(s.batch * heads, s.queries, s.tokens, Width);
  const double unfused_seconds = median_seconds([&] {
    unfused.run(o.scale, q_device.data(), k_device.data(), v_device.data(), out_device.data());
  });
  const double unfused_error = largest_error();

  const bool is_right = error <= 2.0 * unfused_error;
  const double flops = 4.0 * static_cast<double>(pairs) * s.queries * s.tokens * Width;
  const double bytes =
      static_cast<double>(pairs * 2 * (query_size + key_size)) * double{sizeof(Element)};
  const double least_seconds = std::max(flops / peak, bytes / bandwidth);
  std::printf("%s\t%d\t%d\t%d\t%d\t%.4f\t%.4f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%.1e\t%.1e\t%s\n",
              type, s.batch, s.queries, s.tokens, Width, seconds * 1e3, unfused_seconds * 1e3,
              flops / seconds * 1e-12, 100.0 * flops / seconds / peak, bytes / seconds * 1e-9,
              100.0 * bytes / seconds / bandwidth, 100.0 * least_seconds / seconds, error,
              unfused_error, is_right ? "ok" : "WRONG");
  return is_right;
}

template <class Scalar>
bool run_all(const char* type, double bandwidth) {
  const double peak = measured_peak<Scalar>();
  std::printf("# %s: %.0f TFLOP/s of a large product\n", type, peak * 1e-12);
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
    std::puts(
        "type\tbatch\tqueries\ttokens\twidth\tms\tcublas ms\tTFLOP/s\t%peak\tGB/s\t%copy\t%limit\t"
        "error\tcublas error\tcheck");
    bool is_right = run_all<float>("f32", bandwidth);
    is_right &= run_all<q2l::cuda::tf32>("tf32", bandwidth);
    is_right &= run_all<__half>("f16", bandwidth);
    is_right &= run_all<__nv_bfloat16>("bf16", bandwidth);
    return is_right ? 0 : failed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return failed;
  }
}
