// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <fstream>
#include <initializer_list>
#include <query2label/core/cpu_features.hpp>
#include <set>
#include <sstream>
#include <string>

#if defined(__x86_64__) && defined(__linux__)
TEST_CASE("The processor's features are those that Linux lists", "[core]") {
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; flags.empty() && std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) flags.insert(word);
  }
  REQUIRE(flags.contains("sse2"));
  const auto has = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!flags.contains(name)) return false;
    return true;
  };
  const q2l::CpuFeatures cpu = q2l::cpu_features();
  CHECK(cpu.avx2_fma == has({"avx2", "fma"}));
  CHECK(cpu.avx512 == has({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}));
  CHECK(cpu.vnni == has({"avx512_vnni"}));
  CHECK(cpu.bf16 == has({"avx512_bf16"}));
  CHECK(cpu.avx_vnni == has({"avx_vnni"}));
  CHECK(cpu.amx == has({"amx_tile", "amx_bf16", "amx_int8"}));
  CHECK_FALSE(cpu.neon);
}
#endif
