// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cfenv>
#include <limits>
#include <query2label/core/float_environment.hpp>
#include <query2label/core/parallel_for.hpp>

using q2l::FloatEnvironment;
using q2l::FloatEnvironmentScope;

namespace {

constexpr float half_epsilon = std::numeric_limits<float>::epsilon() / 2;
constexpr float subnormal = std::numeric_limits<float>::denorm_min() * 1024;

/// Computed when this runs.
float sum(float a, float b) {
  const volatile float x = a, y = b;
  return x + y;
}

/// Runs work as a thread that rounds upwards would.
class RoundingUp final : public q2l::TaskRunner {
 public:
  void run(std::size_t workers, q2l::WorkerFunction work) override {
    const int mode = std::fegetround();
    std::fesetround(FE_UPWARD);
    for (std::size_t w = 0; w < workers; ++w) work(w);
    is_left_alone = std::fegetround() == FE_UPWARD;
    std::fesetround(mode);
  }
  bool is_left_alone = false;
};

}  // namespace

TEST_CASE("A float environment holds for a scope, then the host's is back with its flags",
          "[core]") {
  REQUIRE(sum(1, half_epsilon) == 1.0f);
  std::fesetround(FE_UPWARD);
  std::feclearexcept(FE_ALL_EXCEPT);
  float inside;
  {
    const FloatEnvironmentScope scope(FloatEnvironment::standard());
    inside = sum(1, half_epsilon);
  }
  const int flags = std::fetestexcept(FE_ALL_EXCEPT);
  const float outside = sum(1, half_epsilon);
  std::fesetround(FE_TONEAREST);
  CHECK(inside == 1.0f);
  CHECK(outside > 1.0f);
  CHECK(flags == 0);
}

TEST_CASE("Subnormal numbers are zero where a scope says so", "[core]") {
  float kept, flushed;
  {
    const FloatEnvironmentScope scope(FloatEnvironment::standard());
    kept = sum(subnormal, subnormal);
  }
  {
    const FloatEnvironmentScope scope(FloatEnvironment::without_subnormals());
    flushed = sum(subnormal, subnormal);
  }
  CHECK(kept == 2 * subnormal);
  CHECK(flushed == 0.0f);
}

TEST_CASE("Work on a host's threads is done in the caller's environment", "[core]") {
  RoundingUp runner;
  float results[2] = {};
  q2l::parallel_for(runner, 2, 2,
                    [&](std::size_t i, std::size_t) { results[i] = sum(1, half_epsilon); });
  CHECK(results[0] == 1.0f);
  CHECK(results[1] == 1.0f);
  CHECK(runner.is_left_alone);
}
