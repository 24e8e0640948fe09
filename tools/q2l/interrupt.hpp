// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>

#include <atomic>

namespace q2l::command {

/// The first of SIGINT, SIGTERM and SIGHUP that arrived, 0 before.
inline std::atomic<int> received_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);  // a handler may write it

inline bool interrupted() noexcept { return received_signal.load(std::memory_order_relaxed) != 0; }

/// The exit status of a run that a signal ended, as shells count it.
inline int interrupted_status() noexcept {
  constexpr int shell_signal_base = 128;
  return shell_signal_base + received_signal;
}

/// Sets what becomes of each such signal, but for those that are ignored.
inline void set_ending_signals(void (*handler)(int)) noexcept {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = handler;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

/// From here on the first such signal lets the run finish its batch; the second, whichever it is,
/// ends the program at once. A signal that the parent had ignored (nohup) stays ignored.
inline void finish_batch_on_signals() {
  set_ending_signals([](int number) {
    int none = 0;
    received_signal.compare_exchange_strong(none, number, std::memory_order_relaxed);
    set_ending_signals(SIG_DFL);
  });
}

/// Writing to a closed pipe, or beyond the largest size of a file, becomes an error instead of a
/// signal that ends the program.
inline void fail_writes_without_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace q2l::command
