// SPDX-License-Identifier: MIT
#pragma once

#if defined(__x86_64__) || defined(__aarch64__)
#include <cstdint>
#else
#include <cfenv>
#endif

namespace q2l {

/// While one lives, its thread rounds to nearest, keeps subnormal numbers and traps nothing, as a
/// program starts; afterwards the thread is as its host had it, flags included. Hosts do change
/// that: a library linked with -ffast-math makes a thread take subnormals for zero, a debug build
/// traps divisions. Results must not depend on it.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() noexcept : host_(read()) { write_default(host_); }
  ~DefaultFloatEnvironment() { write(host_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  // The clobbers keep the compiler from moving loads, and so arithmetic, past the change.
#if defined(__x86_64__)
  using State = std::uint32_t;  ///< MXCSR

  static State read() noexcept {
    State state;
    asm volatile("stmxcsr %0" : "=m"(state));
    return state;
  }
  static void write(State state) noexcept { asm volatile("ldmxcsr %0" : : "m"(state) : "memory"); }
  static void write_default(State host) noexcept {
    constexpr State flags = 0x3F, all_masked = 0x1F80;
    if ((host & ~flags) != all_masked) write(all_masked);
  }
#elif defined(__aarch64__)
  struct State {
    std::uint64_t control, flags;  ///< FPCR, FPSR
  };

  static State read() noexcept {
    State state;
    asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(state.control), "=r"(state.flags));
    return state;
  }
  static void write(State state) noexcept {
    asm volatile("msr fpcr, %0\n\tmsr fpsr, %1"
                 :
                 : "r"(state.control), "r"(state.flags)
                 : "memory");
  }
  static void write_default(State host) noexcept {
    if (host.control != 0) write({0, host.flags});
  }
#else
  using State = std::fenv_t;

  static State read() noexcept {
    State state;
    std::fegetenv(&state);
    return state;
  }
  static void write(const State& state) noexcept { std::fesetenv(&state); }
  static void write_default(const State&) noexcept { std::fesetenv(FE_DFL_ENV); }
#endif

  State host_;
};

}  // namespace q2l
