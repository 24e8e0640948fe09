// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>

#include "query2label/core/error.hpp"

namespace q2l::test {

/// The error that `call` throws. Throws std::logic_error, which fails the test, if it throws none.
template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  throw std::logic_error("expected a q2l::Error, but nothing was thrown");
}

}  // namespace q2l::test
