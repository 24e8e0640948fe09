// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <unistd.h>

namespace q2l::command {

/// Takes the numbers of closed standard streams, so that no file opened later gets one: messages
/// would be written into it. Reading or writing such a stream still fails, messages are lost.
inline void occupy_closed_descriptors() noexcept {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest number is the one that is free.
    static_cast<void>(::open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY));
  }
}

}  // namespace q2l::command
