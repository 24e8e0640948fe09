// SPDX-License-Identifier: MIT
// q2l-golden FILE...: does what each golden file describes and compares with its answers. One line
// a file: the largest error of each quantity, its bound, and ok or FAIL. Exit 1 if any file fails.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "golden/check_golden.hpp"

namespace {

bool check_file(const std::string& path, std::size_t workers, q2l::Precision precision) {
  std::string line = path + ":";
  bool ok = false;
  try {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot be read");
    const q2l::test::GoldenReport report =
        q2l::test::check_golden(nlohmann::json::parse(file), workers, precision);
    for (const auto& quantity : report.quantities) {
      char text[128];
      std::snprintf(text, sizeof text, " %s %.2e (<= %.2e)", quantity.name.c_str(), quantity.error,
                    quantity.bound);
      line += text;
    }
    ok = report.ok();
  } catch (const std::exception& error) {
    line += " " + std::string(error.what());
  }
  std::printf("%s %s\n", line.c_str(), ok ? "ok" : "FAIL");
  std::fflush(stdout);
  return ok;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares this library with the reference implementation's golden answers.");
  std::vector<std::string> files;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("FILE", files, "golden files: models, resize, metrics")->required();
  app.add_option("--threads", threads, "threads to use")->check(CLI::Range(1, 1024));
  std::string precision = "f32";
  app.add_option("--precision", precision, "of models: f32, or bf16 or int8 against a yardstick")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  CLI11_PARSE(app, argc, argv);
  bool all_ok = true;
  for (const std::string& path : files)
    all_ok = check_file(path, threads, *q2l::precision_named(precision)) && all_ok;
  return all_ok ? 0 : 1;
}
