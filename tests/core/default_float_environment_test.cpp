// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cfenv>
#include <limits>
#include <query2label/core/default_float_environment.hpp>
#include <query2label/core/parallel_for.hpp>

namespace {

/// 1 + x, computed when this runs.
float one_plus(float x) {
  volatile float one = 1.0f, other = x;
  return one + other;
}

/// A runner whose threads round upwards, as its caller does not.
class RoundingUp final : public q2l::TaskRunner {
 public:
  void run(std::size_t workers, q2l::WorkerFunction work) override {
    const int mode = std::fegetround();
    std::fesetround(FE_UPWARD);
    for (std::size_t w = 0; w < workers; ++w) work(w);
    left_alone = std::fegetround() == FE_UPWARD;
    std::fesetround(mode);
  }
  bool left_alone = false;
};

}  // namespace

TEST_CASE("The default float environment holds for a scope, then the host's is back", "[core]") {
  const float tiny = std::numeric_limits<float>::epsilon() / 8;
  REQUIRE(one_plus(tiny) == 1.0f);
  std::fesetround(FE_UPWARD);
  std::feclearexcept(FE_ALL_EXCEPT);
  float inside;
  {
    const q2l::DefaultFloatEnvironment environment;
    inside = one_plus(tiny);
  }
  const int flags = std::fetestexcept(FE_ALL_EXCEPT);
  const float outside = one_plus(tiny);
  std::fesetround(FE_TONEAREST);
  CHECK(inside == 1.0f);
  CHECK(outside > 1.0f);
  CHECK(flags == 0);
}

TEST_CASE("Work on a host's threads rounds to nearest whatever they do", "[core]") {
  const float tiny = std::numeric_limits<float>::epsilon() / 8;
  RoundingUp runner;
  float results[2] = {};
  q2l::parallel_for(runner, 2, 2,
                    [&](std::size_t i, std::size_t) { results[i] = one_plus(tiny); });
  CHECK(results[0] == 1.0f);
  CHECK(results[1] == 1.0f);
  CHECK(runner.left_alone);
}
