// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/core/context.hpp>
#include <query2label/core/parallel_for.hpp>
#include <query2label/core/workspace.hpp>
#include <stdexcept>
#include <vector>

#include "support/thread_per_worker.hpp"

namespace {

using q2l::test::ThreadPerWorker;

/// A host that runs everything on one thread, the last worker first.
class Backwards final : public q2l::TaskRunner {
 public:
  void run(std::size_t workers, q2l::WorkerFunction work) override {
    while (workers-- > 0) work(workers);
  }
};

void check_each_index_once(q2l::TaskRunner& runner) {
  for (const std::size_t workers : {0u, 1u, 2u, 3u, 8u}) {
    for (const std::size_t count : {0u, 1u, 2u, 3u, 7u, 100u}) {
      CAPTURE(workers, count);
      std::vector<int> calls(count, 0);
      std::vector<int> by_worker(workers + 1, 0);  // calls of one worker never overlap
      q2l::parallel_for(runner, workers, count, [&](std::size_t i, std::size_t worker) {
        ++calls[i];
        ++by_worker.at(worker);
      });
      CHECK(calls == std::vector<int>(count, 1));
      int total = 0;
      for (const int n : by_worker) total += n;
      CHECK(total == static_cast<int>(count));
      CHECK(by_worker[workers] == (workers == 0 ? static_cast<int>(count) : 0));
    }
  }
}

}  // namespace

TEST_CASE("parallel_for calls the body once for every index on the calling thread alone",
          "[core]") {
  q2l::SerialRunner runner;
  check_each_index_once(runner);
}

TEST_CASE("parallel_for calls the body once for every index on a host's own threads", "[core]") {
  ThreadPerWorker runner;
  check_each_index_once(runner);
  CHECK(runner.most_workers == 8);
  Backwards backwards;
  check_each_index_once(backwards);
}

TEST_CASE("parallel_for_ranges calls the body once for every index, in ever smaller ranges",
          "[core]") {
  q2l::SerialRunner serial;
  ThreadPerWorker threads;
  for (q2l::TaskRunner* runner :
       {static_cast<q2l::TaskRunner*>(&serial), static_cast<q2l::TaskRunner*>(&threads)}) {
    for (const std::size_t workers : {0u, 1u, 2u, 3u, 8u}) {
      for (const std::size_t count : {0u, 1u, 2u, 7u, 100u}) {
        CAPTURE(workers, count);
        std::vector<int> calls(count, 0);
        std::vector<std::size_t> smallest(workers + 1, count);  // so far, of each worker
        q2l::parallel_for_ranges(*runner, workers, count,
                                 [&](std::size_t begin, std::size_t end, std::size_t worker) {
                                   for (std::size_t i = begin; i < end; ++i) ++calls[i];
                                   if (end - begin > smallest.at(worker)) calls[begin] = -1;
                                   smallest[worker] = end - begin;
                                 });
        CHECK(calls == std::vector<int>(count, 1));
      }
    }
  }
}

TEST_CASE("parallel_for_ranges rethrows what the body throws and stops the others", "[core]") {
  ThreadPerWorker threads;
  CHECK_THROWS_WITH(q2l::parallel_for_ranges(threads, 3, 1000,
                                             [](std::size_t, std::size_t, std::size_t) {
                                               throw std::runtime_error("broken");
                                             }),
                    "broken");
}

TEST_CASE("parallel_for asks for no more workers than there are indices", "[core]") {
  ThreadPerWorker runner;
  q2l::parallel_for(runner, 8, 3, [](std::size_t, std::size_t) {});
  CHECK(runner.most_workers == 3);
}

TEST_CASE("parallel_for rethrows on the caller what the body throws, for any runner", "[core]") {
  q2l::SerialRunner serial;
  ThreadPerWorker threads;
  for (q2l::TaskRunner* runner :
       {static_cast<q2l::TaskRunner*>(&serial), static_cast<q2l::TaskRunner*>(&threads)}) {
    for (const std::size_t workers : {1u, 3u}) {
      CHECK_THROWS_WITH(q2l::parallel_for(*runner, workers, 50,
                                          [](std::size_t i, std::size_t) {
                                            if (i == 20) throw std::runtime_error("index 20");
                                          }),
                        "index 20");
    }
  }
}

TEST_CASE("A context runs on its own runner with its own number of workers", "[core]") {
  ThreadPerWorker runner;
  q2l::Workspace workspace(0);
  const q2l::Context context{runner, 2, workspace};
  std::vector<int> calls(9, 0);
  context.parallel_for(calls.size(), [&](std::size_t i, std::size_t) { ++calls[i]; });
  CHECK(calls == std::vector<int>(9, 1));
  CHECK(runner.most_workers == 2);
  CHECK_FALSE(context.is_planning());
}
