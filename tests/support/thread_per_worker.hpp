// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "query2label/core/parallel_for.hpp"

namespace q2l::test {

/// What a host may write: a new thread for each worker, started last to first.
class ThreadPerWorker final : public TaskRunner {
 public:
  void run(std::size_t workers, WorkerFunction work) override {
    ++calls;
    std::size_t most = most_workers;
    while (most < workers && !most_workers.compare_exchange_weak(most, workers)) {
    }
    std::vector<std::thread> threads;
    for (std::size_t w = workers; w-- > 0;) threads.emplace_back([work, w] { work(w); });
    for (std::thread& thread : threads) thread.join();
  }
  std::atomic<int> calls{0};
  std::atomic<std::size_t> most_workers{0};
};

}  // namespace q2l::test
