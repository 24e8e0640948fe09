// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/resize.hpp"

namespace q2l::command {

/// A picture as it waits for its turn.
struct ReadPicture {
  Image image;
  int width = 0;  ///< of the picture in its file
  int height = 0;

  /// As read.
  static ReadPicture whole(Image image) {
    const int width = image.width, height = image.height;
    return {std::move(image), width, height};
  }
  /// At a model's resolution: it gets the same scores, and a batch of photographs takes megabytes
  /// instead of gigabytes.
  static ReadPicture shrunk(const Image& image, std::size_t side) {
    const int size = static_cast<int>(side);
    return {resize_bilinear(image, size, size), image.width, image.height};
  }
};

/// A picture, or why it could not be read.
using PictureOrError = std::variant<ReadPicture, Error>;

/// The pictures that `read(i)` gives for i below `count`, called on the threads of `readers`. An
/// Error that it throws is that picture's, and so is a want of memory.
template <class Read>
std::vector<PictureOrError> read_pictures(ThreadPool& readers, std::size_t count, Read&& read) {
  std::vector<PictureOrError> pictures(count);
  parallel_for(readers, readers.threads(), count, [&](std::size_t i, std::size_t) {
    try {
      pictures[i] = with_memory_error("no memory for the picture", "", [&] { return read(i); });
    } catch (const Error& error) {
      pictures[i] = error;
    }
  });
  return pictures;
}

}  // namespace q2l::command
