// SPDX-License-Identifier: MIT
#pragma once

#include <query2label/image/decode.hpp>

#include "support/error_of.hpp"
#include "support/image_fixtures.hpp"

namespace q2l::test {

/// The error with which a picture is refused.
inline Error decode_error(const Bytes& file, const DecodeOptions& options = {},
                          const Limits& limits = {}) {
  return error_of([&] { static_cast<void>(decode_image(file, options, limits)); });
}

}  // namespace q2l::test
