// SPDX-License-Identifier: MIT
#ifdef Q2L_LAUNCHER
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "command/program.hpp"
#include "query2label/core/cpu_features.hpp"
#include "support/temporary_folder.hpp"

using q2l::test::TemporaryFolder;
namespace program = q2l::test::program;

TEST_CASE("The launcher starts the best program that is there and that the processor runs",
          "[command]") {
  const q2l::CpuFeatures cpu = q2l::cpu_features();
  const TemporaryFolder folder;
  const std::filesystem::path launcher = folder / "bin/q2l";
  std::filesystem::create_directory(folder / "bin");
  std::filesystem::copy_file(Q2L_LAUNCHER, launcher);
  struct Build {
    std::string name;
    bool runs;
  };
  // The best first.
  const Build builds[] = {{"q2l-x86-64-v4-amx", cpu.amx},       {"q2l-x86-64-v4-bf16", cpu.bf16},
                          {"q2l-x86-64-v4-vnni", cpu.vnni},     {"q2l-x86-64-v4", cpu.avx512},
                          {"q2l-x86-64-v3-vnni", cpu.avx_vnni}, {"q2l-x86-64-v3", cpu.avx2_fma}};
  for (const Build& build : builds) {
    const auto path = folder.write("bin/" + build.name,
                                   "#!/bin/sh\nprintf '%s|' " + build.name + " \"$@\"\nexit 5\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  // Through a link, as in a folder of PATH.
  std::filesystem::create_symlink("bin/q2l", folder / "q2l");
  for (const Build& build : builds) {
    if (build.runs) {
      const program::Result result = program::run({"tag", "a b"}, "", (folder / "q2l").string());
      CHECK(result.out == build.name + "|tag|a b|");
      CHECK(result.status == 5);
      CHECK(result.err.empty());
    }
    std::filesystem::remove(folder / ("bin/" + build.name));
  }
  const program::Result none = program::run({"tag"}, "", launcher.string());
  CHECK(none.status == 3);
  CHECK(none.err.find("q2l-x86-64-... are missing") != std::string::npos);
}
#endif
