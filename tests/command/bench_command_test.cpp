// SPDX-License-Identifier: MIT
#include "q2l/bench_command.hpp"

#include <catch2/catch.hpp>
#include <sstream>
#include <string>
#include <vector>

#ifdef Q2L_COMMAND
#include "command/program.hpp"
#endif

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

#ifdef Q2L_COMMAND

TEST_CASE("A run of bench tells the multiply-adds of each stage for the whole batch", "[command]") {
  namespace program = q2l::test::program;
  const std::string model = program::demo_pictures + "/demo.safetensors";
  /// The lines of the table without what a clock said: stage and multiply-adds in 1e9.
  const auto table = [&](program::Arguments arguments) {
    arguments.insert(arguments.begin(), {"bench", model, "--threads", "1", "--repeat", "1"});
    const program::Result result = program::run(arguments);
    CHECK(result.status == 0);
    CHECK(result.err.empty());
    const std::vector<std::string> lines = program::lines_of(result.out);
    REQUIRE(lines.size() > 5);
    CHECK(lines[0] == model + ": resnet18, 160 x 160, 48 labels");
    CHECK(lines[1].find(arguments.size() > 8 ? "batch 2 side by side, best of 1;"
                                             : "batch 2, best of 1;") != std::string::npos);
    CHECK(lines[2].starts_with("loaded in "));
    CHECK(lines[4] == "stage                           ms      GMAC   GFLOP/s    of peak");
    std::vector<std::string> rows;
    for (std::size_t i = 5; i < lines.size(); ++i) {
      std::string milliseconds, count;
      std::istringstream(lines[i].substr(24)) >> milliseconds >> count;
      rows.push_back(lines[i].substr(0, 24) + count);
    }
    return rows;
  };
  // Twice those of a picture: 144.2, 4.1 and 11.7 million. Of 25 tokens with width 128,
  // feed-forward 256 and 192 channels, the encoder's are 25 * 192 * 128 of the projection,
  // 2 * 128 * 128 * (25 + 25) + 2 * 128 * 25 * 25 of attention and 2 * 128 * 256 * 25.
  CHECK(table({"--batch", "2"}) ==
        std::vector<std::string>{"backbone                0.29", "projection and encoder  0.01",
                                 "decoder and head        0.02", "all                     0.32"});
  CHECK(table({"--batch", "2", "--schedule", "throughput"}) ==
        std::vector<std::string>{"all                     0.32"});
}

TEST_CASE("A model's errors against f32 are told layer by layer, and f32 has none", "[command]") {
  namespace program = q2l::test::program;
  const auto lines = [](const std::string& precision) {
    const program::Result result =
        program::run({"bench", "--error", program::tiny_model, "--precision", precision});
    CHECK(result.status == 0);
    return program::lines_of(result.out);
  };
  const std::vector<std::string> wide = lines("f32"), narrow = lines("bf16");
  REQUIRE(wide.size() > 2);
  CHECK(wide[0] == "layer" + std::string(56, ' ') + "precision     error");
  CHECK(wide[1] == "backbone.0.body.conv1" + std::string(46, ' ') + "f32   0.0e+00");
  CHECK(wide.back() == "logits" + std::string(67, ' ') + "0.0e+00");
  for (std::size_t i = 1; i < wide.size(); ++i) CHECK(wide[i].ends_with("   0.0e+00"));
  REQUIRE(narrow.size() == wide.size());
  CHECK(narrow[2].substr(60, 10) == "      bf16");
  CHECK_FALSE(narrow.back().ends_with("0.0e+00"));
}

#endif  // Q2L_COMMAND
