// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "query2label/core/parallel_for.hpp"

namespace q2l {

/// The built-in pool: `threads - 1` workers beside the calling thread. Workers spin for a moment
/// after each task, since an inference is some 175 parallel regions in a row (waking a sleeping
/// thread costs 44 us, a spinning one 0.13 us), and sleep between inferences.
///
/// Any number of threads may call `run`. While the pool is busy (another caller, or a call from
/// inside a task) a call does its work on its own thread, so nesting cannot deadlock. Fewer workers
/// are used when the system refuses to start more. After fork(), which copies no threads, calls of
/// the child do their work on their own.
class ThreadPool final : public TaskRunner {
 public:
  explicit ThreadPool(std::size_t threads) {
    try {
      for (std::size_t w = 1; w < threads; ++w) {
        workers_.emplace_back([this, w] { serve(w); });
      }
    } catch (const std::system_error&) {
      // Fewer threads give the same results, only later.
    } catch (const std::bad_alloc&) {
      // So do they here.
    }
  }

  ~ThreadPool() override {
    if (is_forked()) {
      // Not threads of this process: they cannot be joined, nor their objects be destroyed.
      static_cast<void>(new (std::nothrow) std::vector<std::thread>(std::move(workers_)));
      return;
    }
    stop_ = true;
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] std::size_t threads() const noexcept { return workers_.size() + 1; }

  void run(std::size_t workers, WorkerFunction work) override {
    if (workers <= 1 || is_forked() || busy_.exchange(true, std::memory_order_acquire)) {
      for (std::size_t w = 0; w < workers; ++w) work(w);
      return;
    }
    const std::size_t helpers = std::min(workers - 1, workers_.size());
    work_ = &work;
    active_ = helpers;
    pending_.store(static_cast<std::uint32_t>(workers_.size()), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    work(0);
    for (std::size_t w = helpers + 1; w < workers; ++w) work(w);
    spin_until([&] { return pending_.load(std::memory_order_acquire) == 0; },
               [&] {
                 const std::uint32_t left = pending_.load(std::memory_order_acquire);
                 if (left != 0) pending_.wait(left, std::memory_order_acquire);
               });
    busy_.store(false, std::memory_order_release);
  }

 private:
  [[nodiscard]] bool is_forked() const noexcept { return ::getpid() != owner_; }

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  /// Spins for some 100 us on `done`, then calls `relax` until it is.
  template <class Done, class Relax>
  static void spin_until(Done done, Relax relax) {
    constexpr std::chrono::microseconds patience{100};
    const auto start = std::chrono::steady_clock::now();
    while (!done()) {
      for (int i = 0; i < 64 && !done(); ++i) pause();
      if (std::chrono::steady_clock::now() - start > patience) break;
    }
    while (!done()) relax();
  }

  void serve(std::size_t worker) {
    std::uint32_t seen = 0;
    for (;;) {
      spin_until([&] { return epoch_.load(std::memory_order_acquire) != seen; },
                 [&] { epoch_.wait(seen, std::memory_order_acquire); });
      ++seen;  // run() waits for every worker, so no epoch is ever skipped
      if (stop_) return;
      if (worker <= active_) (*work_)(worker);
      if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
    }
  }

  const pid_t owner_ = ::getpid();
  std::atomic<bool> busy_{false};
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<std::uint32_t> pending_{0};
  const WorkerFunction* work_ = nullptr;  // these three are published by epoch_
  std::size_t active_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;  // last: its threads use the members above
};

}  // namespace q2l
