// SPDX-License-Identifier: MIT
// The portable q2l: built for the baseline instruction set, it starts the build beside it that
// suits the processor. One program never mixes instruction sets: the linker would keep one copy of
// each inline function, perhaps one the processor cannot run.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>

#include "query2label/core/cpu_features.hpp"

int main(int, char** argv) {
  constexpr int failed_to_start = 3;
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    std::cerr << "q2l: cannot find its own folder: " << error.message() << '\n';
    return failed_to_start;
  }
  const q2l::CpuFeatures cpu = q2l::cpu_features();
  struct Build {
    const char* name;
    bool usable;
  };
  const std::array builds{
      Build{"q2l-x86-64-v4-amx", cpu.amx},       Build{"q2l-x86-64-v4-bf16", cpu.vnni && cpu.bf16},
      Build{"q2l-x86-64-v4-vnni", cpu.vnni},     Build{"q2l-x86-64-v4", cpu.avx512},
      Build{"q2l-x86-64-v3-vnni", cpu.avx_vnni}, Build{"q2l-x86-64-v3", cpu.avx2_fma},
  };
  for (const Build& build : builds) {
    const std::filesystem::path program = self.parent_path() / build.name;
    if (!build.usable || !std::filesystem::exists(program, error)) continue;
    execv(program.c_str(), argv);
    std::cerr << "q2l: cannot start " << program << ": " << std::strerror(errno) << '\n';
    return failed_to_start;
  }
  std::cerr << "q2l: this processor lacks AVX2 or FMA, or the programs q2l-x86-64-... are missing "
               "beside this one\n";
  return failed_to_start;
}
