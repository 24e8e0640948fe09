// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

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

/// From here on such a signal first calls `clean_up`, on a thread of its own, and then ends the
/// program. Call it before other threads start: they inherit that signals pass them by.
inline void clean_up_on_signals(std::function<void()> clean_up) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      ::sigaddset(&signals, signal);
  }
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    std::thread([signals, clean_up = std::move(clean_up)] {
      int number = 0;
      ::sigwait(&signals, &number);
      clean_up();
      ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      ::raise(number);
    }).detach();
  } catch (const std::system_error&) {  // no thread can be had: it ends without
    ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  }
}

/// Writing to a closed pipe, or beyond the largest size of a file, becomes an error instead of a
/// signal that ends the program.
inline void fail_writes_without_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace q2l::command
