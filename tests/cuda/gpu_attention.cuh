// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/cuda/cross_attention.cuh>
#include <query2label/cuda/device_buffer.cuh>
#include <span>
#include <type_traits>
#include <vector>

#include "cuda/attention_example.hpp"
#include "support/comparator.hpp"

namespace q2l::test {

/// Values as the operands of `Scalar` hold them, and back.
template <class Scalar>
auto to_elements(const std::vector<float>& values) {
  using Element = typename cuda::CrossAttentionOperands<Scalar>::Element;
  std::vector<Element> out;
  out.reserve(values.size());
  for (const float value : values) out.push_back(static_cast<Element>(value));
  return out;
}
template <class Element>
std::vector<float> to_floats(const std::vector<Element>& values) {
  std::vector<float> out;
  out.reserve(values.size());
  for (const Element value : values) out.push_back(static_cast<float>(value));
  return out;
}

/// A stream of its own.
class Stream {
 public:
  Stream() { cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const noexcept { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// An example in GPU memory. What lies around the elements of `out` and `maps` begins as NaN and
/// must stay so.
template <class Scalar, int HeadWidth>
class GpuAttention {
 public:
  using Element = typename cuda::CrossAttentionOperands<Scalar>::Element;

  explicit GpuAttention(const AttentionExample& example)
      : example_(example),
        q_(span(to_elements<Scalar>(example.q.values))),
        k_(span(to_elements<Scalar>(example.k.values))),
        v_(span(to_elements<Scalar>(example.v.values))),
        out_(poison<Element>(example.rows() * width())),
        maps_(poison<float>(example.rows() * tokens())),
        mean_maps_(poison<float>(example.rows() / heads() * tokens())) {}

  void start(cudaStream_t stream, bool with_maps = true) {
    const AttentionExtents& e = example_.extents;
    const std::int64_t head_size = std::int64_t{e.queries} * e.width;
    cuda::CrossAttentionOperands<Scalar> o;
    o.batch = e.batch;
    o.heads = e.heads;
    o.queries = e.queries;
    o.tokens = e.tokens;
    o.width = e.width;
    o.scale = example_.scale;
    o.q = rows(q_.data(), example_.q);
    o.k = rows(k_.data(), example_.k);
    o.v = rows(v_.data(), example_.v);
    o.out = {out_.data() + guard, e.heads * head_size, head_size, e.width};
    if (with_maps) {
      o.maps = maps_.data() + guard;
      o.mean_maps = mean_maps_.data() + guard;
    }
    cuda::cross_attention<Scalar, HeadWidth>(o, stream);
  }

  struct Outcome {
    std::vector<Element> out;
    std::vector<float> maps;
    std::vector<float> mean_maps;
  };

  /// Waits for `stream`, checks the guards and returns the results.
  Outcome finish(cudaStream_t stream) {
    Outcome outcome{taken(out_, stream), taken(maps_, stream), taken(mean_maps_, stream)};
    return outcome;
  }

  Outcome run(bool with_maps = true) {
    const Stream stream;
    start(stream, with_maps);
    return finish(stream);
  }

 private:
  static constexpr std::size_t guard = 64;

  template <class T>
  static std::span<const T> span(const std::vector<T>& values) {
    return values;
  }
  template <class T>
  static cuda::DeviceBuffer<T> poison(std::size_t size) {
    const std::vector<T> values(size + 2 * guard, static_cast<T>(NAN));
    return cuda::DeviceBuffer<T>(span(values));
  }
  template <class T>
  static std::vector<T> taken(const cuda::DeviceBuffer<T>& buffer, cudaStream_t stream) {
    std::vector<T> all(buffer.size());
    buffer.download(all, stream);
    cuda::check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    bool is_intact = true;
    for (std::size_t i = 0; i < guard; ++i) {
      is_intact = is_intact && std::isnan(static_cast<float>(all[i])) &&
                  std::isnan(static_cast<float>(all[all.size() - 1 - i]));
    }
    CHECK(is_intact);
    return {all.begin() + guard, all.end() - guard};
  }
  static cuda::HeadRows<const Element> rows(const Element* data, const AttentionOperand& operand) {
    return {data, operand.batch_stride(), operand.head_stride(), operand.stride};
  }
  [[nodiscard]] std::size_t width() const {
    return static_cast<std::size_t>(example_.extents.width);
  }
  [[nodiscard]] std::size_t heads() const {
    return static_cast<std::size_t>(example_.extents.heads);
  }
  [[nodiscard]] std::size_t tokens() const {
    return static_cast<std::size_t>(example_.extents.tokens);
  }

  const AttentionExample& example_;
  cuda::DeviceBuffer<Element> q_, k_, v_, out_;
  cuda::DeviceBuffer<float> maps_, mean_maps_;
};

template <class Scalar>
constexpr AttentionRounding rounding_of() {
  if (std::is_same_v<Scalar, cuda::tf32>) return tf32_rounding;
  if (std::is_same_v<Scalar, __half>) return f16_rounding;
  if (std::is_same_v<Scalar, __nv_bfloat16>) return bf16_rounding;
  return f32_rounding;
}

/// Checks values, weights and their means, and that a second run, without weights and beside
/// another stream's work, gives the same bits.
template <class Scalar, int HeadWidth>
void check_on_gpu(AttentionExample example) {
  const AttentionExtents& e = example.extents;
  CAPTURE(e.batch, e.heads, e.queries, e.tokens, e.width);
  using Gpu = GpuAttention<Scalar, HeadWidth>;
  example.round(
      [](float value) { return static_cast<float>(static_cast<typename Gpu::Element>(value)); });
  const auto expected = example.expected(rounding_of<Scalar>());
  const auto actual = Gpu(example).run();
  const std::vector<float> out = to_floats(actual.out);
  const auto width = static_cast<std::size_t>(e.width);
  const auto tokens = static_cast<std::size_t>(e.tokens);
  CHECK(differences(Matrix<const float>(out.data(), example.rows(), width), expected.out) == "");
  CHECK(differences(Matrix<const float>(actual.maps.data(), example.rows(), tokens),
                    expected.maps) == "");

  const auto heads = static_cast<std::size_t>(e.heads);
  const std::size_t size = static_cast<std::size_t>(e.queries) * tokens;
  std::vector<float> means(actual.mean_maps.size());
  for (std::size_t i = 0; i < means.size(); ++i) {
    for (std::size_t h = 0; h < heads; ++h) {
      means[i] += actual.maps[(i / size * heads + h) * size + i % size];
    }
    means[i] /= static_cast<float>(heads);
  }
  CHECK(same_bits(means, actual.mean_maps));

  const Stream first, second;
  Gpu one(example), other(example);
  one.start(first, false);
  other.start(second, false);
  CHECK(same_bits(to_floats(one.finish(first).out), out));
  CHECK(same_bits(to_floats(other.finish(second).out), out));
}

/// The checks that every scalar and head width must pass; `width` is HeadWidth unless any.
template <class Scalar, int HeadWidth>
void check_all_on_gpu(int width) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  for (const int queries : {1, 16, 17, 33, 80}) {
    for (const int tokens : {1, 15, 16, 17, 49, 196}) {
      check_on_gpu<Scalar, HeadWidth>(AttentionExample({1, 2, queries, tokens, width}, 2.0, scale));
    }
  }
  check_on_gpu<Scalar, HeadWidth>(AttentionExample({3, 4, 20, 36, width, true, false}, 1.0, scale));
  check_on_gpu<Scalar, HeadWidth>(AttentionExample({2, 3, 20, 36, width, false, true}, 1.0, scale));

  check_on_gpu<Scalar, HeadWidth>(AttentionExample({1, 1, 10000, 3, width}, 1.0, scale));
  check_on_gpu<Scalar, HeadWidth>(AttentionExample({1, 1, 3, 4096, width}, 1.0, scale));

  AttentionExample hostile({1, 1, 18, 50, width}, 1.0, 1.0f);
  hostile.repeat_first_key();
  check_on_gpu<Scalar, HeadWidth>(hostile);
  for (const float step : {512.0f, -512.0f}) {
    hostile.spread_scores(step);
    check_on_gpu<Scalar, HeadWidth>(hostile);
  }
}

}  // namespace q2l::test
