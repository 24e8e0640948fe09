// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <limits>

#include "query2label/core/context.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/core/workspace.hpp"

namespace q2l::benchmarks {

/// Times `run(context)` as `state` asks and returns the seconds of the fastest run: processor time
/// divided by the threads, which other programs disturb less than time on the clock; waiting
/// workers spin, so their idling counts.
template <class Run>
double time_runs(benchmark::State& state, ThreadPool& pool, Run&& run) {
  double fastest = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const std::clock_t start = std::clock();
    run();
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    state.SetIterationTime(seconds);
    fastest = std::min(fastest, seconds / static_cast<double>(pool.threads()));
  }
  state.counters["min_us"] = fastest * 1e6;
  return fastest;
}

/// The scratch that `run(context)` takes.
template <class Run>
Workspace workspace_for(ThreadPool& pool, Run&& run) {
  Workspace plan = Workspace::planning();
  run(Context{pool, pool.threads(), plan});
  return Workspace(plan.peak());
}

}  // namespace q2l::benchmarks
