// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <limits>

#include "query2label/core/context.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/core/workspace.hpp"

namespace q2l::benchmarks {

/// Seconds since some moment: of processor time for one thread, which other programs disturb less;
/// on the clock for several, which must run at the same time.
inline double seconds_of(const ThreadPool& pool) {
  if (pool.threads() == 1) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

/// Times `run(context)` as `state` asks and returns the seconds of the fastest run.
template <class Run>
double time_runs(benchmark::State& state, ThreadPool& pool, Run&& run) {
  double fastest = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const double start = seconds_of(pool);
    run();
    const double seconds = seconds_of(pool) - start;
    state.SetIterationTime(seconds);
    fastest = std::min(fastest, seconds);
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
