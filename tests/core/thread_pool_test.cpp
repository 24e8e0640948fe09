// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <new>
#include <optional>
#include <query2label/core/thread_pool.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

using q2l::ThreadPool;

namespace {

void check_all_indices(ThreadPool& pool, std::size_t workers, std::size_t count) {
  std::vector<int> calls(count, 0);
  q2l::parallel_for(pool, workers, count, [&](std::size_t i, std::size_t) { ++calls[i]; });
  CHECK(calls == std::vector<int>(count, 1));
}

}  // namespace

TEST_CASE("A pool of 1 to 8 threads runs every index once, for fewer and for more workers",
          "[core][pool]") {
  for (std::size_t threads = 1; threads <= 8; ++threads) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const std::size_t workers : {1u, 2u, 3u, 5u, 8u, 13u}) {
      for (const std::size_t count : {0u, 1u, 2u, 17u, 300u}) {
        CAPTURE(threads, workers, count);
        check_all_indices(pool, workers, count);
      }
    }
  }
}

TEST_CASE("A pool of no threads is the calling thread", "[core][pool]") {
  ThreadPool pool(0);
  CHECK(pool.threads() == 1);
  check_all_indices(pool, 4, 10);
}

TEST_CASE("Each worker of a pool is called exactly once", "[core][pool]") {
  ThreadPool pool(3);
  for (const std::size_t workers : {0u, 1u, 2u, 3u, 4u, 9u}) {
    std::vector<int> calls(workers, 0);
    auto work = [&](std::size_t w) { ++calls[w]; };
    pool.run(workers, work);
    CHECK(calls == std::vector<int>(workers, 1));
  }
}

TEST_CASE("The threads of a pool really work at the same time", "[core][pool]") {
  ThreadPool pool(3);
  std::atomic<int> arrived{0};
  auto meet = [&](std::size_t) {  // returns only when all three are inside
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
  };
  pool.run(3, meet);
  CHECK(arrived == 3);
}

TEST_CASE("A pool serves many short regions in a row and others after it has slept",
          "[core][pool]") {
  ThreadPool pool(4);
  for (int pause = 0; pause < 3; ++pause) {
    std::atomic<std::size_t> sum{0};
    for (int region = 0; region < 500; ++region) {
      q2l::parallel_for(pool, 4, 5, [&](std::size_t i, std::size_t) { sum += i; });
    }
    CHECK(sum == 500 * 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than it spins
  }
}

TEST_CASE("An exception on any thread reaches the caller and leaves the pool usable",
          "[core][pool]") {
  ThreadPool pool(4);
  for (int round = 0; round < 20; ++round) {
    CHECK_THROWS_WITH(q2l::parallel_for(pool, 4, 100,
                                        [](std::size_t i, std::size_t) {
                                          if (i == 60) throw std::runtime_error("index 60");
                                        }),
                      "index 60");
    CHECK_THROWS_AS(
        q2l::parallel_for(pool, 4, 100, [](std::size_t, std::size_t) { throw std::bad_alloc(); }),
        std::bad_alloc);
    check_all_indices(pool, 4, 50);
  }
}

TEST_CASE("A failure stops the handing out of further indices", "[core][pool]") {
  ThreadPool pool(1);
  std::size_t calls = 0;
  CHECK_THROWS_AS(q2l::parallel_for(pool, 3, 1000,
                                    [&](std::size_t i, std::size_t) {
                                      ++calls;
                                      if (i == 4) throw std::runtime_error("stop");
                                    }),
                  std::runtime_error);
  CHECK(calls == 5);
}

TEST_CASE("A region inside a region runs to its end", "[core][pool]") {
  ThreadPool pool(3);
  std::vector<std::vector<int>> calls(6, std::vector<int>(7, 0));
  q2l::parallel_for(pool, 3, calls.size(), [&](std::size_t outer, std::size_t) {
    q2l::parallel_for(pool, 3, calls[outer].size(),
                      [&](std::size_t inner, std::size_t) { ++calls[outer][inner]; });
  });
  for (const std::vector<int>& inner : calls) CHECK(inner == std::vector<int>(7, 1));
}

TEST_CASE("Several threads may call one pool at once", "[core][pool]") {
  ThreadPool pool(3);
  std::vector<std::size_t> sums(4, 0);
  std::vector<std::thread> callers;
  for (std::size_t& sum : sums) {
    callers.emplace_back([&pool, &sum] {
      for (int region = 0; region < 200; ++region) {
        std::atomic<std::size_t> own{0};
        q2l::parallel_for(pool, 3, 10, [&](std::size_t i, std::size_t) { own += i; });
        sum += own;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(sums == std::vector<std::size_t>(4, 200 * 45));
}

TEST_CASE("A pool ends cleanly at once, after work and after sleep", "[core][pool]") {
  for (int round = 0; round < 20; ++round) {
    { const ThreadPool unused(4); }
    ThreadPool pool(4);
    check_all_indices(pool, 4, 8);
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_CASE("A pool does its work in a process that was forked, and ends there", "[core][pool]") {
  std::optional<ThreadPool> pool(3);
  check_all_indices(*pool, 3, 8);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    std::size_t sum = 0;
    q2l::parallel_for(*pool, 3, 10, [&](std::size_t i, std::size_t) { sum += i; });
    pool.reset();
    ::_exit(sum == 45 ? 0 : 1);
  }
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  check_all_indices(*pool, 3, 8);
}
