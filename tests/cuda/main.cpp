// SPDX-License-Identifier: MIT
#define CATCH_CONFIG_RUNNER
#include <cuda_runtime_api.h>

#include <catch2/catch.hpp>
#include <iostream>

/// Runs the tests [cuda], which need no GPU, and, where there is one, the tests [gpu]. Without a
/// GPU the exit code of a success is 77, which CTest shows as skipped.
int main(int argc, char** argv) {
  constexpr int skipped = 77;
  int devices = 0;
  const bool has_gpu = cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
  Catch::Session session;
  if (const int status = session.applyCommandLine(argc, argv); status != 0) return status;
  if (!has_gpu) {
    std::cout << "no GPU here: the tests [gpu] are skipped\n";
    session.configData().testsOrTags.emplace_back("~[gpu]");
  }
  const int failed = session.run();
  return failed == 0 && !has_gpu ? skipped : failed;
}
