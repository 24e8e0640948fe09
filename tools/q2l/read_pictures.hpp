// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <variant>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/image.hpp"

namespace q2l::command {

/// A picture, or why it could not be read.
using PictureOrError = std::variant<Image, Error>;

/// The pictures that `read(i)` gives for i below `count`, called on the threads of `readers`. An
/// Error that it throws is that picture's.
template <class Read>
std::vector<PictureOrError> read_pictures(ThreadPool& readers, std::size_t count, Read&& read) {
  std::vector<PictureOrError> pictures(count);
  parallel_for(readers, readers.threads(), count, [&](std::size_t i, std::size_t) {
    try {
      pictures[i] = read(i);
    } catch (const Error& error) {
      pictures[i] = error;
    }
  });
  return pictures;
}

}  // namespace q2l::command
