// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/core/context.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/ops/for_each_row.hpp"

namespace q2l::ops {

/// out [M, D] = a [M, D] + b [P, D], where b is repeated over the rows of a (M a multiple of P):
/// the position code of one image added to every image of a batch. `out` may be `a`. Exact but for
/// the one rounding of each sum. Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void add(const Context& context, Matrix<const T> a, Matrix<const T> b, Matrix<T> out) {
  require_equal(out.rows, a.rows, "add: rows of out");
  require_equal(out.columns, a.columns, "add: columns of out");
  require_equal(b.columns, a.columns, "add: columns of b");
  require_argument(b.rows > 0 && a.rows % b.rows == 0, "add", "rows of b must divide rows of a");
  if (context.is_planning()) return;
  for_each_row(context, a.rows, a.columns, [&](std::size_t r) {
    kernels::add_row<T, Arch>(a.row(r), b.row(r % b.rows), out.row(r), a.columns);
  });
}

}  // namespace q2l::ops
