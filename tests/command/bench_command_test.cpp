// SPDX-License-Identifier: MIT
#include "q2l/bench_command.hpp"

#include <catch2/catch.hpp>

#include "query2label/core/thread_pool.hpp"

using namespace q2l::command;

TEST_CASE("The best of several runs is taken stage by stage, the total run by run", "[command]") {
  const StageTimes best = best_of({{3, 1, 2, 6}, {1, 4, 2, 7}, {5, 5, 1, 11}});
  CHECK(best.backbone == 1);
  CHECK(best.encoder == 1);
  CHECK(best.decoder == 1);
  CHECK(best.total == 6);
}

TEST_CASE("A line of the table gives rates of two operations a multiply-add", "[command]") {
  // 2e9 multiply-adds in a tenth of a second are 40 GFLOP/s
  CHECK(stage_line("backbone", 0.1, 2'000'000'000, 80e9) ==
        "backbone                     100.0      2.00      40.0       50 %");
}

TEST_CASE("The peak of multiply-adds is a speed that processors have", "[command]") {
  q2l::SerialRunner runner;
  const double peak = measure_fma_peak<float>(runner, 1);
  CHECK(peak > 1e7);
  CHECK(peak < 1e13);
}

TEST_CASE("A described model that lacks its tensors is refused by name", "[command]") {
  BenchOptions options;
  options.model.model = Q2L_TESTS_DIR "/golden/metrics.json";
  try {
    run_bench(options);
    FAIL("accepted");
  } catch (const q2l::Error& error) {
    CHECK(error.code() == q2l::ErrorCode::bad_config);
    CHECK(error.place().path == options.model.model);
  }
}
