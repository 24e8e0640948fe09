// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <cstddef>
#include <type_traits>

namespace q2l {

/// View of a matrix: `rows` x `columns`, element (r, c) at `data[r * stride + c]`.
/// Tokens are a matrix [N T, D], queries [N K, D].
template <class T>
struct Matrix {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;

  Matrix() = default;
  Matrix(T* data_, std::size_t rows_, std::size_t columns_, std::size_t stride_)
      : data(data_), rows(rows_), columns(columns_), stride(stride_) {}
  Matrix(T* data_, std::size_t rows_, std::size_t columns_)
      : Matrix(data_, rows_, columns_, columns_) {}

  operator Matrix<const T>() const noexcept  // a view of values is a view of constant values
      requires(!std::is_const_v<T>) {
    return {data, rows, columns, stride};
  }

  [[nodiscard]] T* row(std::size_t r) const noexcept {
    assert(r < rows);
    return data + r * stride;
  }
  [[nodiscard]] Matrix row_range(std::size_t first, std::size_t count) const noexcept {
    assert(first + count <= rows);
    return {data + first * stride, count, columns, stride};
  }
  [[nodiscard]] Matrix column_range(std::size_t first, std::size_t count) const noexcept {
    assert(first + count <= columns);
    return {data + first, rows, count, stride};
  }
};

/// View of a batch of feature maps, channels last: element (n, y, x, c) at
/// `data[((n * height + y) * width + x) * stride + c]`. This is the one activation layout, from the
/// picture to the tokens: `pixels()` of the backbone's output is the token matrix [N T, C].
template <class T>
struct FeatureMap {
  T* data = nullptr;
  std::size_t batch = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::size_t channels = 0;
  std::size_t stride = 0;  ///< elements from one pixel to the next

  FeatureMap() = default;
  FeatureMap(T* data_, std::size_t batch_, std::size_t height_, std::size_t width_,
             std::size_t channels_, std::size_t stride_)
      : data(data_),
        batch(batch_),
        height(height_),
        width(width_),
        channels(channels_),
        stride(stride_) {}
  FeatureMap(T* data_, std::size_t batch_, std::size_t height_, std::size_t width_,
             std::size_t channels_)
      : FeatureMap(data_, batch_, height_, width_, channels_, channels_) {}

  operator FeatureMap<const T>() const noexcept requires(!std::is_const_v<T>) {
    return {data, batch, height, width, channels, stride};
  }

  [[nodiscard]] std::size_t pixel_count() const noexcept { return batch * height * width; }
  [[nodiscard]] Matrix<T> pixels() const noexcept {
    return {data, pixel_count(), channels, stride};
  }
  [[nodiscard]] T* pixel(std::size_t n, std::size_t y, std::size_t x) const noexcept {
    assert(n < batch && y < height && x < width);
    return data + ((n * height + y) * width + x) * stride;
  }
  [[nodiscard]] FeatureMap image(std::size_t n) const noexcept {
    assert(n < batch);
    return {data + n * height * width * stride, 1, height, width, channels, stride};
  }
};

}  // namespace q2l
