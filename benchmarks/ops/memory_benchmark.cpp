// SPDX-License-Identifier: MIT
// Times the ops that are bound by memory rather than by multiply-adds, on maps of the models:
//
//     memory_benchmark [--threads=N] [Google Benchmark's options]
//
// Beside the time: GB/s, each input and output counted once, and the share of what copying as many
// bytes reaches in this process. A map that fits in a cache is faster than memory is.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "operands.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/kernels/row_softmax_kernel.hpp"
#include "query2label/ops/add.hpp"
#include "query2label/ops/avg_pool2d.hpp"
#include "query2label/ops/blur_pool2d.hpp"
#include "query2label/ops/for_each_row.hpp"
#include "query2label/ops/layer_norm.hpp"
#include "query2label/ops/max_pool2d.hpp"
#include "query2label/ops/space_to_depth.hpp"
#include "query2label/ops/squeeze_excite.hpp"
#include "timed_runs.hpp"

namespace q2l::benchmarks {
namespace {

using Arch = simd::DefaultArch;

/// Height, width and channels of a map.
struct MapSize {
  std::size_t height, width, channels;
  [[nodiscard]] std::size_t size() const { return height * width * channels; }
};

/// An op on one map.
struct MemoryOp {
  std::string name;
  MapSize in, out;
  std::function<void(const Context&, FeatureMap<const float>, FeatureMap<float>)> run;
};

/// One whose output is as large as its input, and which sees rows.
template <class Rows>
MemoryOp row_op(const std::string& name, std::size_t rows, std::size_t columns, Rows run) {
  const MapSize size{rows, 1, columns};
  return {name + ' ' + std::to_string(rows) + ' ' + std::to_string(columns), size, size,
          [run](const Context& context, FeatureMap<const float> in, FeatureMap<float> out) {
            run(context, in.pixels(), out.pixels());
          }};
}

/// An op of a row in place, after a copy of it.
template <class RowKernel>
MemoryOp in_place_op(const std::string& name, std::size_t rows, std::size_t columns,
                     RowKernel kernel) {
  return row_op(name, rows, columns,
                [kernel](const Context& context, Matrix<const float> in, Matrix<float> out) {
                  if (context.is_planning()) return;
                  ops::for_each_row(context, in.rows, in.columns, [&](std::size_t r) {
                    std::copy_n(in.row(r), in.columns, out.row(r));
                    kernel(out.row(r), in.columns);
                  });
                });
}

template <class Run>
MemoryOp map_op(const std::string& name, const MapSize& in, const MapSize& out, Run run) {
  return {name + ' ' + std::to_string(in.height) + ' ' + std::to_string(in.width) + ' ' +
              std::to_string(in.channels),
          in, out, run};
}

MemoryOp layer_norm_op(std::size_t rows, std::size_t columns) {
  const ops::LayerNorm<float> norm(counter_random("weight", columns, 0, 1, 1),
                                   counter_random("bias", columns, 0, 1, 1));
  return row_op("layer_norm", rows, columns,
                [norm](const Context& context, Matrix<const float> in, Matrix<float> out) {
                  ops::layer_norm<float, Arch>(context, norm, in, out);
                });
}

MemoryOp add_op(std::size_t rows, std::size_t columns) {
  return row_op("add", rows, columns,
                [](const Context& context, Matrix<const float> in, Matrix<float> out) {
                  ops::add<float, Arch>(context, out, in, out);
                });
}

MemoryOp activation_op(const std::string& name, Activation activation, std::size_t rows,
                       std::size_t columns) {
  return in_place_op(name, rows, columns, [activation](float* row, std::size_t count) {
    kernels::activate_row<float, Arch>(activation, row, count);
  });
}

MemoryOp softmax_op(std::size_t rows, std::size_t columns) {
  return in_place_op("softmax", rows, columns, [](float* row, std::size_t count) {
    kernels::softmax_row<float, Arch>(row, nullptr, 0.125f, count);
  });
}

MemoryOp squeeze_excite_op(const MapSize& size, std::size_t squeezed) {
  const auto linear = [](std::size_t in, std::size_t out) {
    return ops::Linear<float, Arch>(in, out, counter_random("weight", in * out, 0, 1, 1),
                                    std::vector<float>(out));
  };
  // Held by pointer: a layer cannot be copied, as std::function would.
  const auto layer =
      std::make_shared<ops::SqueezeExcite<float, Arch>>(ops::SqueezeExcite<float, Arch>{
          linear(size.channels, squeezed), linear(squeezed, size.channels)});
  return map_op("squeeze_excite", size, size, [layer](const Context& context, auto in, auto out) {
    ops::squeeze_excite<float, Arch>(context, *layer, in, out);
  });
}

std::vector<MemoryOp> memory_ops() {
  std::vector<MemoryOp> all;
  for (const auto& [rows, columns] : {std::pair{9216, 192}, {2304, 384}, {576, 768}, {196, 2048}})
    all.push_back(layer_norm_op(static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)));
  for (const auto& [rows, columns] : {std::pair{9216, 768}, {576, 3072}})
    all.push_back(activation_op("gelu", Activation::gelu(), static_cast<std::size_t>(rows),
                                static_cast<std::size_t>(columns)));
  for (const auto& [rows, columns] : {std::pair{9216, 144}, {2304, 576}, {320, 196}})
    all.push_back(softmax_op(static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)));
  all.push_back(add_op(196, 2048));
  all.push_back(map_op("max_pool2d", {224, 224, 64}, {112, 112, 64},
                       [](const Context& context, auto in, auto out) {
                         ops::max_pool2d<float, Arch>(context, {3, 2, 1}, in, out);
                       }));
  all.push_back(map_op("avg_pool2d", {56, 56, 304}, {28, 28, 304},
                       [](const Context& context, auto in, auto out) {
                         ops::avg_pool2d<float, Arch>(context, {2, 2}, in, out);
                       }));
  all.push_back(map_op("blur_pool2d", {112, 112, 152}, {56, 56, 152},
                       [](const Context& context, auto in, auto out) {
                         ops::blur_pool2d<float, Arch>(context, in, out);
                       }));
  all.push_back(map_op("space_to_depth", {448, 448, 3}, {112, 112, 48},
                       [](const Context& context, auto in, auto out) {
                         ops::space_to_depth<float>(context, 4, in, out);
                       }));
  all.push_back(squeeze_excite_op({56, 56, 152}, 64));
  return all;
}

/// The seconds that copying as many bytes takes all threads, the best of some tries.
double copy_seconds(ThreadPool& pool, const AlignedBuffer<float>& in, AlignedBuffer<float>& out) {
  constexpr int tries = 20;
  const std::size_t count = (in.size() + out.size()) / 2;
  AlignedBuffer<float> from(count), to(count);
  std::fill_n(from.data(), count, 1.0f);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < tries; ++i) {
    const std::clock_t start = std::clock();
    auto copy = [&](std::size_t worker) noexcept {
      const std::size_t begin = count * worker / pool.threads();
      const std::size_t end = count * (worker + 1) / pool.threads();
      std::memcpy(to.data() + begin, from.data() + begin, (end - begin) * sizeof(float));
    };
    pool.run(pool.threads(), copy);
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    best = std::min(best, seconds / static_cast<double>(pool.threads()));
  }
  return best;
}

void time_memory_op(benchmark::State& state, const MemoryOp& op, ThreadPool& pool) {
  const AlignedBuffer<float> in = made_up(op.in.size());
  AlignedBuffer<float> out = made_up(op.out.size());
  const auto run = [&](const Context& context) {
    op.run(context, {in.data(), 1, op.in.height, op.in.width, op.in.channels},
           {out.data(), 1, op.out.height, op.out.width, op.out.channels});
  };
  Workspace workspace = workspace_for(pool, run);
  const Context context{pool, pool.threads(), workspace};
  run(context);
  const double copy = copy_seconds(pool, in, out);
  const double fastest = time_runs(state, pool, [&] { run(context); });
  const double bytes = static_cast<double>((in.size() + out.size()) * sizeof(float));
  state.counters["GB/s"] = bytes / fastest / 1e9;
  state.counters["of_copy"] = copy / fastest;
}

}  // namespace
}  // namespace q2l::benchmarks

int main(int count, char** arguments) try {
  using namespace q2l::benchmarks;
  constexpr std::string_view threads_option = "--threads=";
  std::size_t threads = 1;
  benchmark::Initialize(&count, arguments);
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (!argument.starts_with(threads_option))
      throw std::runtime_error("not an option: " + argument);
    threads = std::stoul(argument.substr(threads_option.size()));
  }
  q2l::ThreadPool pool(threads);
  for (const MemoryOp& op : memory_ops()) {
    benchmark::RegisterBenchmark(
        op.name.c_str(), [op, &pool](benchmark::State& state) { time_memory_op(state, op, pool); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return benchmark::RunSpecifiedBenchmarks() == 0;
} catch (const std::exception& error) {
  std::cerr << "memory_benchmark: " << error.what() << '\n';
  return 1;
}
