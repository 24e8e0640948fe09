// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <query2label/core/aligned_buffer.hpp>
#include <query2label/core/tensor.hpp>
#include <type_traits>
#include <vector>

namespace q2l::test {

/// The storage of a matrix whose every other byte is hostile: it begins off a cache line, its rows
/// lie further apart than they are long, and all around the elements lies one NaN, so that a stray
/// read shows in the result and a stray write in `is_intact`. The elements begin as that NaN too.
template <class T>
class PoisonedMatrix {
 public:
  PoisonedMatrix(std::size_t rows, std::size_t columns, std::size_t padding = 3,
                 std::size_t misalignment = 1)
      : rows_(rows),
        columns_(columns),
        stride_(columns + padding),
        begin_(guard + misalignment),
        storage_(begin_ + rows * stride_ + guard) {
    for (T& element : storage_.span()) element = poison();
  }

  template <class Value>
  PoisonedMatrix(std::size_t rows, std::size_t columns, const std::vector<Value>& values,
                 std::size_t padding = 3, std::size_t misalignment = 1)
      : PoisonedMatrix(rows, columns, padding, misalignment) {
    for (std::size_t i = 0; i < rows * columns; ++i) {
      view().row(i / columns)[i % columns] = static_cast<T>(values[i]);
    }
  }

  [[nodiscard]] Matrix<T> view() noexcept {
    return {storage_.data() + begin_, rows_, columns_, stride_};
  }
  [[nodiscard]] Matrix<const T> view() const noexcept {
    return {storage_.data() + begin_, rows_, columns_, stride_};
  }

  /// The same elements as the pixels of `batch` maps of `height` x `width`.
  [[nodiscard]] FeatureMap<T> map(std::size_t batch, std::size_t height, std::size_t width) {
    return {view().data, batch, height, width, columns_, stride_};
  }
  [[nodiscard]] FeatureMap<const T> map(std::size_t batch, std::size_t height,
                                        std::size_t width) const {
    return {view().data, batch, height, width, columns_, stride_};
  }

  /// The elements alone, row-major.
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> out;
    for (std::size_t r = 0; r < rows_; ++r) {
      out.insert(out.end(), view().row(r), view().row(r) + columns_);
    }
    return out;
  }

  /// True while nothing was written outside the elements.
  [[nodiscard]] bool is_intact() const noexcept {
    const T expected = poison();
    for (std::size_t i = 0; i < storage_.size(); ++i) {
      const std::size_t from_begin = i - begin_;  // wraps before the first row
      const bool is_element =
          i >= begin_ && from_begin < rows_ * stride_ && from_begin % stride_ < columns_;
      if (!is_element && std::memcmp(&storage_[i], &expected, sizeof(T)) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t guard = cache_line / sizeof(T);

  /// A quiet NaN with a payload that no arithmetic makes.
  static T poison() noexcept {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const Bits bits = sizeof(T) == 4 ? Bits(0x7FC0DEADu) : static_cast<Bits>(0x7FF8DEAD7FC0DEADu);
    T out;
    std::memcpy(&out, &bits, sizeof(T));
    return out;
  }

  std::size_t rows_, columns_, stride_, begin_;
  AlignedBuffer<T> storage_;
};

}  // namespace q2l::test
