// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <type_traits>
#include <utility>

#include "query2label/core/float_environment.hpp"

namespace q2l {

/// Work that a TaskRunner runs on several threads: `worker` is 0 .. workers - 1.
/// A reference to the caller's function object: it must outlive the call.
class WorkerFunction {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, WorkerFunction>) WorkerFunction(F& f)
  noexcept  // implicit, as a reference parameter would be
      : object_(&f), call_([](void* object, std::size_t worker) noexcept {
          (*static_cast<F*>(object))(worker);
        }) {}

  void operator()(std::size_t worker) const noexcept { call_(object_, worker); }

 private:
  void* object_;
  void (*call_)(void*, std::size_t) noexcept;
};

/// The threads an inference may use. A host that has its own pool implements this one function.
class TaskRunner {
 public:
  virtual ~TaskRunner() = default;

  /// Calls `work(w)` once for every w in 0 .. workers - 1, in any order, on any threads, at the
  /// same time or one after the other, and returns when all calls have returned. May itself be
  /// called by several threads at a time, and from inside `work`.
  virtual void run(std::size_t workers, WorkerFunction work) = 0;
};

/// Everything on the calling thread.
class SerialRunner final : public TaskRunner {
 public:
  void run(std::size_t workers, WorkerFunction work) override {
    for (std::size_t w = 0; w < workers; ++w) work(w);
  }
};

namespace detail {

/// Runs `loop(next, worker)`, which takes work from the counter `next` until it reaches `count`, on
/// several threads. After an exception the others stop when they take work again; then it is
/// rethrown. All compute in the caller's float environment, whatever a host's threads have.
template <class Loop>
void run_workers(TaskRunner& runner, std::size_t workers, std::size_t count, const Loop& loop) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const FloatEnvironment callers = FloatEnvironment::current();
  auto work = [&](std::size_t worker) noexcept {
    const FloatEnvironmentScope scope(callers);
    try {
      loop(next, worker);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  runner.run(std::min(workers, count), work);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail

/// Calls `body(index, worker)` for every index in 0 .. count - 1. Indices are handed out one by one
/// from an atomic counter; calls with the same `worker` never overlap. The first exception is
/// rethrown here after all workers have stopped.
template <class Body>
void parallel_for(TaskRunner& runner, std::size_t workers, std::size_t count, Body&& body) {
  if (count <= 1 || workers <= 1) {
    for (std::size_t i = 0; i < count; ++i) body(i, std::size_t{0});
    return;
  }
  detail::run_workers(runner, workers, count,
                      [&](std::atomic<std::size_t>& next, std::size_t worker) {
                        for (;;) {
                          const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
                          if (i >= count) return;
                          body(i, worker);
                        }
                      });
}

/// The same with ranges: calls `body(begin, end, worker)`, with large ones first, in proportion to
/// what is left, and ever smaller ones, so that all threads end together.
template <class Body>
void parallel_for_ranges(TaskRunner& runner, std::size_t workers, std::size_t count, Body&& body) {
  if (count == 0) return;
  if (count == 1 || workers <= 1) return body(std::size_t{0}, count, std::size_t{0});
  detail::run_workers(
      runner, workers, count, [&](std::atomic<std::size_t>& next, std::size_t worker) {
        std::size_t begin = next.load(std::memory_order_relaxed);
        while (begin < count) {
          const std::size_t end = begin + std::max<std::size_t>((count - begin) / (2 * workers), 1);
          if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
          body(begin, end, worker);
          begin = next.load(std::memory_order_relaxed);
        }
      });
}

/// Threads that may share a piece of work; by default the calling one alone.
struct Threads {
  TaskRunner* runner = nullptr;
  std::size_t workers = 1;

  template <class Body>
  void parallel_for(std::size_t count, Body&& body) const {
    SerialRunner serial;
    q2l::parallel_for(runner != nullptr ? *runner : serial, workers, count,
                      std::forward<Body>(body));
  }
};

}  // namespace q2l
