// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "query2label/core/context.hpp"

namespace q2l::ops {

/// Calls `body(row)` or `body(row, worker)` for every row, several rows a task.
template <class Body>
void for_each_row(const Context& context, std::size_t rows, std::size_t columns, Body&& body) {
  constexpr std::size_t elements_a_task = 16384;
  const std::size_t rows_a_task =
      std::max<std::size_t>(1, elements_a_task / std::max<std::size_t>(1, columns));
  context.parallel_for((rows + rows_a_task - 1) / rows_a_task,
                       [&](std::size_t task, std::size_t worker) {
                         const std::size_t end = std::min(rows, (task + 1) * rows_a_task);
                         for (std::size_t r = task * rows_a_task; r < end; ++r) {
                           if constexpr (std::is_invocable_v<Body&, std::size_t, std::size_t>) {
                             body(r, worker);
                           } else {
                             body(r);
                           }
                         }
                       });
}

}  // namespace q2l::ops
