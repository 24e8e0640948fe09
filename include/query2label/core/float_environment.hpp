// SPDX-License-Identifier: MIT
#pragma once

#if defined(__x86_64__) || defined(__aarch64__)
#include <cstdint>
#else
#include <cfenv>
#endif

namespace q2l {

/// How a thread rounds, whether it takes subnormal numbers for zero, and which exceptions trap.
/// Hosts have it in many ways: a library linked with -ffast-math turns subnormals off for its
/// thread, a debug build traps divisions. Results must not depend on that.
class FloatEnvironment {
 public:
  /// As programs start: to nearest, subnormals kept, no traps.
  [[nodiscard]] static FloatEnvironment standard() noexcept { return make(false); }

  /// The same, but subnormals are zero, where the processor can: some need 100 cycles for one, and
  /// weights may be full of them.
  [[nodiscard]] static FloatEnvironment without_subnormals() noexcept { return make(true); }

  /// The calling thread's.
  [[nodiscard]] static FloatEnvironment current() noexcept {
    FloatEnvironment out;
#if defined(__x86_64__)
    asm volatile("stmxcsr %0" : "=m"(out.state_));
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(out.state_.control), "=r"(out.state_.flags));
#else
    std::fegetenv(&out.state_);
#endif
    return out;
  }

  /// Makes it the calling thread's. The compiler moves no load across this, and so no arithmetic.
  void apply() const noexcept {
#if defined(__x86_64__)
    asm volatile("ldmxcsr %0" : : "m"(state_) : "memory");
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0\n\tmsr fpsr, %1"
                 :
                 : "r"(state_.control), "r"(state_.flags)
                 : "memory");
#else
    std::fesetenv(&state_);
#endif
  }

 private:
#if defined(__x86_64__)
  using State = std::uint32_t;  ///< MXCSR
  static constexpr State all_masked = 0x1F80, subnormals_are_zero = 0x8040;
#elif defined(__aarch64__)
  struct State {
    std::uint64_t control, flags;  ///< FPCR, FPSR
  };
  static constexpr std::uint64_t flush_to_zero = std::uint64_t{1} << 24;
#else
  using State = std::fenv_t;
#endif

  FloatEnvironment() noexcept = default;

  static FloatEnvironment make([[maybe_unused]] bool flushes) noexcept {
    FloatEnvironment out;
#if defined(__x86_64__)
    out.state_ = all_masked | (flushes ? subnormals_are_zero : 0);
#elif defined(__aarch64__)
    out.state_ = {flushes ? flush_to_zero : 0, 0};
#else
    const FloatEnvironment own = current();
    std::fesetenv(FE_DFL_ENV);
    std::fegetenv(&out.state_);
    own.apply();
#endif
    return out;
  }

  State state_;
};

/// While one lives, its thread computes in `environment`; afterwards as before, flags included.
class FloatEnvironmentScope {
 public:
  explicit FloatEnvironmentScope(const FloatEnvironment& environment) noexcept {
    environment.apply();
  }
  ~FloatEnvironmentScope() { before_.apply(); }
  FloatEnvironmentScope(const FloatEnvironmentScope&) = delete;
  FloatEnvironmentScope& operator=(const FloatEnvironmentScope&) = delete;

 private:
  FloatEnvironment before_ = FloatEnvironment::current();
};

}  // namespace q2l
