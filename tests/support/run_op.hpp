// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>
#include <query2label/core/context.hpp>
#include <query2label/core/thread_pool.hpp>
#include <query2label/core/workspace.hpp>
#include <string_view>
#include <vector>

#include "support/comparator.hpp"
#include "support/error_of.hpp"
#include "support/poisoned_buffer.hpp"

namespace q2l::test {

/// Runs `op(context)` as a model does: planned, then on up to `workers` threads with exactly the
/// memory planned, each byte of which begins as part of a NaN.
template <class Op>
void run_planned(std::size_t workers, Op&& op) {
  static ThreadPool pool(8);
  Workspace plan = Workspace::planning();
  op(Context{pool, workers, plan});
  Workspace workspace(plan.peak());
  if (plan.peak() > 0) {
    const Workspace::Frame frame(workspace);
    const std::size_t bytes = plan.peak() - cache_line;
    std::memset(workspace.take<std::byte>(bytes), 0xFF, bytes);
  }
  op(Context{pool, workers, workspace});
}

/// Runs `op(context)` on the calling thread.
template <class Op>
void run_planned(Op&& op) {
  run_planned(1, op);
}

/// Checks that `op(context)` is refused as a bad argument, already when it is planned, by an error
/// about `subject`, which begins with the op's name.
template <class Op>
void check_bad_argument(std::string_view subject, Op&& op) {
  SerialRunner runner;
  Workspace plan = Workspace::planning();
  const Error error = error_of([&] { op(Context{runner, 1, plan}); });
  CHECK(error.code() == ErrorCode::bad_argument);
  CHECK(error.place().subject == subject);
}

/// Requires that `op(context, out)`, which fills `out` [rows, columns], gives the same bits on 1,
/// 2, 3 and 8 threads. Returns them.
template <class T, class Op>
std::vector<T> same_bits_on_any_workers(std::size_t rows, std::size_t columns, Op&& op) {
  std::vector<T> alone;
  for (const std::size_t workers : {1u, 2u, 3u, 8u}) {
    PoisonedMatrix<T> out(rows, columns);
    run_planned(workers, [&](const Context& context) { op(context, out.view()); });
    CAPTURE(workers);
    REQUIRE(out.is_intact());
    if (workers == 1) alone = out.values();
    CHECK(same_bits(out.values(), alone));
  }
  return alone;
}

/// Requires that each of `images` images of `rows` rows, computed alone by `op(context, n, out)`,
/// has the bits it has in `batch`, where all were computed together.
template <class T, class Op>
void check_same_bits_alone(const std::vector<T>& batch, std::size_t images, std::size_t rows,
                           std::size_t columns, Op&& op) {
  REQUIRE(batch.size() == images * rows * columns);
  for (std::size_t n = 0; n < images; ++n) {
    CAPTURE(n);
    PoisonedMatrix<T> out(rows, columns);
    run_planned([&](const Context& context) { op(context, n, out.view()); });
    const T* const begin = batch.data() + n * rows * columns;
    CHECK(same_bits(out.values(), {begin, begin + rows * columns}));
  }
}

}  // namespace q2l::test
