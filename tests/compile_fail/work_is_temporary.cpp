// SPDX-License-Identifier: MIT
// A WorkerFunction refers to the caller's function object, so it takes none that is about to end.
#include <cstddef>

#include "query2label/core/parallel_for.hpp"

void run(q2l::TaskRunner& runner) {
  auto work = [](std::size_t) {};
  runner.run(2, work);
#ifdef MISUSE
  runner.run(2, [](std::size_t) {});
#endif
}
