// SPDX-License-Identifier: MIT
// Times the convolutions, linear layers and attentions of models:
//
//     product_benchmark [--threads=N] [--precision=bf16] [Google Benchmark's options] SHAPES.txt...
//
// Each layer is first compared with sums in double at some elements of its output; a wrong one is
// an error and is not timed. Beside the time: GFLOP/s (a multiply-add is two; convolutions count as
// if multiplied out directly, of attention its products alone) and the share of what multiply-adds
// alone, of the layer's precision, reach in this process.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "attention_case.hpp"
#include "conv2d_case.hpp"
#include "linear_case.hpp"
#include "q2l/fma_peak.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/thread_pool.hpp"
#include "shape_file.hpp"
#include "timed_runs.hpp"

namespace q2l::benchmarks {
namespace {

/// What numbers between -1 and 1 become in int8.
constexpr Quantization input_quantization{2.0f / 255, 128};

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

template <class Case>
void time_case(benchmark::State& state, const LayerShape& shape, Precision wanted,
               ThreadPool& pool) {
  Case layer(shape, {{}, wanted, input_quantization});
  Workspace workspace = workspace_for(pool, [&](const Context& context) { layer.run(context); });
  const Context context{pool, pool.threads(), workspace};
  layer.run(context);
  if (!layer.is_right()) return state.SkipWithError("the result is wrong");

  // The machine's speed varies from second to second: the peak is that of this second.
  const double peak = measure_peak(pool, layer.precision());
  const double fastest = time_runs(state, pool, [&] { layer.run(context); });
  const double speed = 2.0 * static_cast<double>(shape.multiply_adds()) / fastest;
  state.counters["GFLOP/s"] = speed / 1e9;
  state.counters["of_peak"] = speed / peak;
  state.counters["layers"] = static_cast<double>(shape.count);
}

void time_layer(benchmark::State& state, const LayerShape& shape, Precision wanted,
                ThreadPool& pool) {
  if (shape.kind == "conv") return time_case<Conv2dCase<false>>(state, shape, wanted, pool);
  if (shape.kind == "depthwise") return time_case<Conv2dCase<true>>(state, shape, wanted, pool);
  if (shape.kind == "attention") return time_case<AttentionCase>(state, shape, wanted, pool);
  time_case<LinearCase>(state, shape, wanted, pool);
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
      const std::string name = std::filesystem::path(file).stem().string() + "/" + shape.name();
      benchmark::RegisterBenchmark(name.c_str(),
                                   [shape, precision, &pool](benchmark::State& state) {
                                     time_layer(state, shape, precision, pool);
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
