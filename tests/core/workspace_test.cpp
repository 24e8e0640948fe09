// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <query2label/core/workspace.hpp>
#include <string>

#include "support/error_of.hpp"

using q2l::Workspace;

namespace {

/// Takes blocks as nested stages do; the deepest moment is in the second inner frame.
void run_stages(Workspace& workspace) {
  const Workspace::Frame outer(workspace);
  static_cast<void>(workspace.take<float>(100));
  {
    const Workspace::Frame inner(workspace);
    static_cast<void>(workspace.take<double>(3));
  }
  {
    const Workspace::Frame inner(workspace);
    static_cast<void>(workspace.take_matrix<double>(7, 9));
    static_cast<void>(workspace.take_feature_map<float>(2, 3, 5, 7));
  }
  static_cast<void>(workspace.take<std::byte>(1));
}

}  // namespace

TEST_CASE("Planning finds exactly the memory that the same calls then take", "[core]") {
  Workspace plan = Workspace::planning();
  CHECK(plan.is_planning());
  CHECK(plan.capacity() == 0);
  run_stages(plan);
  CHECK(plan.peak() > (100 + 2 * 3 * 5 * 7) * sizeof(float) + 7 * 9 * sizeof(double));

  Workspace workspace(plan.peak());
  CHECK_FALSE(workspace.is_planning());
  CHECK(workspace.capacity() == plan.peak());
  CHECK(workspace.peak() == 0);
  run_stages(workspace);
  CHECK(workspace.peak() == plan.peak());
  run_stages(workspace);  // the frames gave everything back
  CHECK(workspace.peak() == plan.peak());
}

TEST_CASE("A workspace one cache line too small raises an error and stays usable", "[core]") {
  Workspace plan = Workspace::planning();
  run_stages(plan);
  Workspace workspace(plan.peak() - q2l::cache_line);
  const q2l::Error error = q2l::test::error_of([&] { run_stages(workspace); });
  CHECK(error.code() == q2l::ErrorCode::limit_exceeded);
  CHECK(error.place().expected == std::to_string(plan.peak()) + " bytes");
  CHECK(error.place().actual == std::to_string(workspace.capacity()) + " bytes");
  CHECK(workspace.take<float>(100) != nullptr);
}

TEST_CASE("Blocks of a workspace are aligned and apart from each other", "[core]") {
  Workspace workspace(1 << 12);
  float* const first = workspace.take<float>(17);
  float* const second = workspace.take<float>(1);
  double* const third = workspace.take<double>(5);
  for (const void* block :
       {static_cast<void*>(first), static_cast<void*>(second), static_cast<void*>(third)}) {
    CHECK(reinterpret_cast<std::uintptr_t>(block) % q2l::cache_line == 0);
  }
  CHECK(second >= first + 17);
  CHECK(static_cast<void*>(third) >= static_cast<void*>(second + 1));
}

TEST_CASE("A frame gives back at its end what was taken since its beginning", "[core]") {
  Workspace workspace(1 << 12);
  const int* const kept = workspace.take<int>(1);
  const int* inside = nullptr;
  {
    const Workspace::Frame frame(workspace);
    inside = workspace.take<int>(1);
    CHECK(inside != kept);
  }
  CHECK(workspace.take<int>(1) == inside);
}
