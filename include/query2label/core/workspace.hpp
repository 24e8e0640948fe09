// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/tensor.hpp"

namespace q2l {

/// Scratch memory of one inference: a stack of cache-line aligned blocks in one allocation.
///
/// A planning workspace counts instead: stages run through it with their arithmetic left out (ops
/// return after their shape checks), so its `peak()` is exactly what the real run will take.
class Workspace {
 public:
  /// Counts only; the pointers it gives must not be read or written.
  [[nodiscard]] static Workspace planning() { return Workspace(); }

  /// Holds `bytes`, which a planning run found. Throws std::bad_alloc.
  explicit Workspace(std::size_t bytes) : memory_(std::in_place, bytes) {}

  [[nodiscard]] bool is_planning() const noexcept { return !memory_; }
  [[nodiscard]] std::size_t peak() const noexcept { return peak_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return memory_ ? memory_->size() : 0; }

  /// `count` uninitialised elements, given back when the enclosing Frame ends.
  /// Throws Error limit_exceeded when the workspace was planned for less.
  template <class T>
  [[nodiscard]] T* take(std::size_t count) {
    // One spare line a block keeps block starts off a common 4 KiB boundary.
    const std::size_t bytes = round_up(count * sizeof(T), cache_line) + cache_line;
    const std::size_t begin = used_;
    if (memory_ && bytes > memory_->size() - begin) {
      throw Error(ErrorCode::limit_exceeded, "the workspace is too small for this call",
                  {.expected = std::to_string(begin + bytes) + " bytes",
                   .actual = std::to_string(memory_->size()) + " bytes"});
    }
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    // A plan still needs distinct addresses to do arithmetic on; they are never dereferenced.
    if (!memory_) return reinterpret_cast<T*>((std::uintptr_t{1} << 20) + begin);
    return reinterpret_cast<T*>(memory_->data() + begin);
  }

  template <class T>
  [[nodiscard]] Matrix<T> take_matrix(std::size_t rows, std::size_t columns) {
    return {take<T>(rows * columns), rows, columns};
  }

  template <class T>
  [[nodiscard]] FeatureMap<T> take_feature_map(std::size_t batch, std::size_t height,
                                               std::size_t width, std::size_t channels) {
    return {take<T>(batch * height * width * channels), batch, height, width, channels};
  }

  /// Gives back, at its end, everything taken since its beginning.
  class Frame {
   public:
    explicit Frame(Workspace& workspace) noexcept : workspace_(workspace), used_(workspace.used_) {}
    ~Frame() { workspace_.used_ = used_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Workspace& workspace_;
    std::size_t used_;
  };

 private:
  Workspace() = default;

  std::optional<AlignedBuffer<std::byte>> memory_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

}  // namespace q2l
