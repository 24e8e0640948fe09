// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include "q2l/exit_code.hpp"

// The library checks the processor when it loads a model. A program that is compiled as a whole for
// AVX2 or AVX-512 would not live to see that on a lesser one: the compiler uses the instructions
// everywhere. This check runs before anything else, and is itself compiled for any x86-64.

#if defined(__x86_64__) && defined(__AVX2__)
namespace q2l::command {

[[gnu::constructor(101), gnu::target("arch=x86-64"), gnu::used]] static void check_processor() {
  __builtin_cpu_init();
#if defined(__AVX512F__)
  static constexpr char message[] = "q2l: this program needs a processor with AVX-512\n";
  const bool suits = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  static constexpr char message[] = "q2l: this program needs a processor with AVX2 and FMA\n";
  const bool suits = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  if (suits) return;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
  ::_exit(static_cast<int>(ExitCode::model));
}

}  // namespace q2l::command
#endif
