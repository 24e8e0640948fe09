// SPDX-License-Identifier: MIT
// Times the convolutions and linear layers of models:
//
//     product_benchmark [--threads=N] [--precision=bf16] [Google Benchmark's options] SHAPES.txt...
//
// Each layer is first compared with sums in double at some elements of its output; a wrong one is
// an error and is not timed. Beside the time: GFLOP/s (a multiply-add is two; convolutions count as
// if multiplied out directly) and the share of what multiply-adds alone, of the layer's precision,
// reach in this process. Both
// come from processor time divided by the threads, which other programs disturb less than time on
// the clock; waiting workers spin, so their idling counts.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <filesystem>
#include <iostream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/fma_peak.hpp"
#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/counter_random.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/ops/conv2d.hpp"
#include "query2label/ops/linear.hpp"
#include "shape_file.hpp"

namespace q2l::benchmarks {
namespace {

using Arch = simd::DefaultArch;

/// Whether `actual` is the result of a sum of `terms` products, which comes to `expected` in double
/// and is of the order of 1. The bound is ten times what rounding at random makes of a chain that
/// long, and of operands between -1 and 1 (bf16: by 2^-9 of each; int8: by half of 1/127 of the
/// largest), so it lets Winograd's transforms pass and no wrong index.
bool agrees(double actual, double expected, std::size_t terms, Precision precision) {
  const double rounding = std::sqrt(static_cast<double>(terms)) * 6e-8;
  const double narrow = precision == Precision::bf16   ? 0x1p-9
                        : precision == Precision::int8 ? 0.5 / 127
                                                       : 0;
  return std::abs(actual - expected) <= 10 * (rounding + narrow) + 1e-6;
}

/// What counter_random's numbers between -1 and 1 become in int8.
constexpr Quantization input_quantization{2.0f / 255, 128};

/// Numbers between -1 and 1, in memory as activations have it (pages of 2 MiB).
AlignedBuffer<float> made_up_input(std::size_t size) {
  AlignedBuffer<float> input(size);
  std::ranges::copy(counter_random("input", size, 0, 1, 2), input.data());
  return input;
}

/// A layer with its operands, ready to run.
class Product {
 public:
  Product(const LayerShape& shape, Precision wanted) : terms_(terms_of(shape)) {
    const ProductSettings settings{{}, wanted, input_quantization};
    const auto& s = shape.sizes;
    const double scale = std::sqrt(3.0 / static_cast<double>(terms_));
    if (shape.kind == "conv") {
      const ops::Conv2dShape conv{s[0], s[1], s[2], s[3], s[4]};
      weight_ = counter_random("weight", s[0] * s[1] * s[2] * s[2], 0, scale, 1);
      convolution_.emplace(conv, weight_, SharedBuffer<float>(), ops::ChannelAffine{}, Threads{},
                           settings);
      height_ = s[5];
      width_ = s[6];
      in_ = made_up_input(height_ * width_ * s[0]);
      out_ = AlignedBuffer<float>(shape.output(height_) * shape.output(width_) * s[1]);
    } else {
      weight_ = counter_random("weight", s[1] * s[2], 0, scale, 1);
      linear_.emplace(s[1], s[2], weight_, SharedBuffer<float>(), Threads{}, settings);
      height_ = s[0];
      in_ = made_up_input(s[0] * s[1]);
      out_ = AlignedBuffer<float>(s[0] * s[2]);
    }
  }

  void run(const Context& context) {
    if (convolution_) {
      const ops::Conv2dShape& conv = convolution_->shape;
      ops::conv2d<float, Arch>(
          context, *convolution_, {in_.data(), 1, height_, width_, conv.in_channels},
          {out_.data(), 1, conv.output(height_), conv.output(width_), conv.out_channels});
    } else {
      ops::linear<float, Arch>(context, *linear_, {in_.data(), height_, linear_->in_features()},
                               {out_.data(), height_, linear_->out_features()});
    }
  }

  /// In which it is computed: not every product can be narrow.
  [[nodiscard]] Precision precision() const {
    const auto& weights = convolution_ ? convolution_->weights : linear_->weights;
    if (!weights.empty()) return weights.precision();
    return convolution_->winograd.is_bfloat16() ? Precision::bf16 : Precision::f32;
  }

  /// Compares some elements, those of the corners among them.
  [[nodiscard]] bool is_right() const {
    constexpr std::size_t samples = 97;
    for (std::size_t i = 0; i <= samples; ++i) {
      const std::size_t element = (out_.size() - 1) * i / samples;
      const double expected = convolution_ ? convolved(element) : multiplied(element);
      if (!agrees(static_cast<double>(out_[element]), expected, terms_, precision())) {
        return false;
      }
    }
    return true;
  }

 private:
  static std::size_t terms_of(const LayerShape& shape) {
    const auto& s = shape.sizes;
    return shape.kind == "conv" ? s[0] * s[2] * s[2] : s[1];
  }

  [[nodiscard]] double multiplied(std::size_t element) const {
    const std::size_t row = element / linear_->out_features();
    const std::size_t column = element % linear_->out_features();
    double sum = 0;
    for (std::size_t k = 0; k < terms_; ++k)
      sum += static_cast<double>(in_[row * terms_ + k]) *
             static_cast<double>(weight_[column * terms_ + k]);
    return sum;
  }

  [[nodiscard]] double convolved(std::size_t element) const {
    const ops::Conv2dShape& conv = convolution_->shape;
    const std::size_t o = element % conv.out_channels;
    const std::size_t x = element / conv.out_channels % conv.output(width_);
    const std::size_t y = element / conv.out_channels / conv.output(width_);
    double sum = 0;
    for (std::size_t r = 0; r < conv.kernel; ++r) {
      for (std::size_t s = 0; s < conv.kernel; ++s) {
        const std::size_t in_y = y * conv.stride + r - conv.padding;  // wraps above the top
        const std::size_t in_x = x * conv.stride + s - conv.padding;
        if (in_y >= height_ || in_x >= width_) continue;
        for (std::size_t c = 0; c < conv.in_channels; ++c) {
          const std::size_t filter = (o * conv.in_channels + c) * conv.kernel * conv.kernel;
          sum += static_cast<double>(in_[(in_y * width_ + in_x) * conv.in_channels + c]) *
                 static_cast<double>(weight_[filter + r * conv.kernel + s]);
        }
      }
    }
    return sum;
  }

  std::size_t terms_;
  std::vector<float> weight_;
  AlignedBuffer<float> in_, out_;
  std::optional<ops::Conv2d<float, Arch>> convolution_;
  std::optional<ops::Linear<float, Arch>> linear_;
  std::size_t height_ = 0;  ///< of the input; of a linear layer, its rows
  std::size_t width_ = 0;
};

/// Operations a second on registers alone, of products in that precision.
double measure_peak(ThreadPool& pool, Precision precision) {
  using command::measure_fma_peak;
  switch (precision) {
    case Precision::bf16:
      return measure_fma_peak<float, bfloat16>(pool, pool.threads());
    case Precision::int8:
      return measure_fma_peak<float, std::int8_t>(pool, pool.threads());
    default:
      return measure_fma_peak<float>(pool, pool.threads());
  }
}

void time_product(benchmark::State& state, const LayerShape& shape, Precision wanted,
                  ThreadPool& pool) {
  Product product(shape, wanted);
  Workspace plan = Workspace::planning();
  product.run({pool, pool.threads(), plan});
  Workspace workspace(plan.peak());
  const Context context{pool, pool.threads(), workspace};
  product.run(context);
  if (!product.is_right()) return state.SkipWithError("the result is wrong");

  // The machine's speed varies from second to second: the peak is that of this second.
  const double peak = measure_peak(pool, product.precision());
  double fastest = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const std::clock_t start = std::clock();
    product.run(context);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    state.SetIterationTime(seconds);
    fastest = std::min(fastest, seconds / static_cast<double>(pool.threads()));
  }
  const double speed = 2.0 * static_cast<double>(shape.multiply_adds()) / fastest;
  state.counters["min_us"] = fastest * 1e6;
  state.counters["GFLOP/s"] = speed / 1e9;
  state.counters["of_peak"] = speed / peak;
  state.counters["layers"] = static_cast<double>(shape.count);
}

}  // namespace
}  // namespace q2l::benchmarks

int main(int count, char** arguments) try {
  using namespace q2l::benchmarks;
  constexpr std::string_view threads_option = "--threads=";
  constexpr std::string_view precision_option = "--precision=";
  std::size_t threads = 1;
  q2l::Precision precision = q2l::Precision::f32;
  benchmark::Initialize(&count, arguments);
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument.starts_with(threads_option)) {
      threads = std::stoul(argument.substr(threads_option.size()));
    } else if (argument.starts_with(precision_option)) {
      const std::string name = argument.substr(precision_option.size());
      const auto named = q2l::precision_named(name);
      if (!named) throw std::runtime_error("--precision is f32, bf16 or int8, not " + name);
      precision = *named;
    } else {
      files.push_back(argument);
    }
  }
  q2l::ThreadPool pool(threads);
  for (const std::string& file : files) {
    for (const LayerShape& shape : read_shape_file(file)) {
      if (shape.kind != "conv" && shape.kind != "linear") continue;
      const std::string name = std::filesystem::path(file).stem().string() + "/" + shape.name();
      benchmark::RegisterBenchmark(name.c_str(),
                                   [shape, precision, &pool](benchmark::State& state) {
                                     time_product(state, shape, precision, pool);
                                   })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  return benchmark::RunSpecifiedBenchmarks() == 0;
} catch (const std::exception& error) {
  std::cerr << "product_benchmark: " << error.what() << '\n';
  return 1;
}
