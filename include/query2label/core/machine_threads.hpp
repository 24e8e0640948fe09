// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <thread>

namespace q2l {

/// The threads that may run at a time here, at least 1: the processors that this process may use,
/// or as many as fill the processor time that a container (Linux's cgroup v2) is granted.
inline std::size_t machine_threads() noexcept {
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  if (std::FILE* const file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
    // "max 100000", or microseconds of processor time in each period of so many.
    std::size_t granted = 0, period = 0;
    if (std::fscanf(file, "%zu %zu", &granted, &period) == 2 && period > 0) {
      threads = std::clamp<std::size_t>((granted + period - 1) / period, 1, threads);
    }
    std::fclose(file);
  }
  return threads;
}

}  // namespace q2l
