// SPDX-License-Identifier: MIT
#include "q2l/interrupt.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace q2l::command;

namespace {

/// How a process ends that calls `work` and exits with what it returns: its exit status, or the
/// signal that ended it as a negative number.
template <class Work>
int end_of(Work&& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);  // nohup, Catch2
    ::_exit(work());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("The second signal ends the program, whichever it is", "[command]") {
  for (const int first : {SIGINT, SIGTERM, SIGHUP})
    for (const int second : {SIGINT, SIGTERM, SIGHUP}) {
      CAPTURE(first, second);
      CHECK(end_of([&] {
              finish_batch_on_signals();
              ::raise(first);
              if (interrupted_status() != 128 + first) return 1;
              ::raise(second);
              return interrupted_status();
            }) == -second);
    }
}

TEST_CASE("A signal that was ignored stays so after another has come", "[command]") {
  CHECK(end_of([] {
          ::signal(SIGHUP, SIG_IGN);
          finish_batch_on_signals();
          ::raise(SIGHUP);
          if (interrupted()) return 1;
          ::raise(SIGTERM);
          ::raise(SIGHUP);
          return interrupted_status();
        }) == 128 + SIGTERM);
}
