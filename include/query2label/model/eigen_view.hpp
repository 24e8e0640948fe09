// SPDX-License-Identifier: MIT
// For hosts that use Eigen; nothing else of the library includes this.
#pragma once

#include <cstddef>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <Eigen/Core>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "query2label/core/tensor.hpp"
#include "query2label/model/session.hpp"

namespace q2l {

/// A constant row-major matrix in somebody else's memory, rows possibly apart.
template <class T>
using EigenView =
    Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
               Eigen::Unaligned, Eigen::OuterStride<>>;

/// `matrix` for Eigen; it must outlive the view.
template <class T>
EigenView<T> eigen_view(Matrix<const T> matrix) {
  const auto index = [](std::size_t n) { return static_cast<Eigen::Index>(n); };
  return {matrix.data, index(matrix.rows), index(matrix.columns),
          Eigen::OuterStride<>(index(matrix.stride))};
}

/// Logits [N, L].
template <class T>
EigenView<T> eigen_logits(const QueryResult<T>& result) {
  return eigen_view(Matrix<const T>{result.logits.data(), result.images, result.labels});
}

/// The attention of one label over the picture's grid, [H, W].
template <class T>
EigenView<T> eigen_map(const QueryResult<T>& result, std::size_t image, std::size_t layer,
                       std::size_t head, std::size_t label) {
  return eigen_view(
      Matrix<const T>{result.map(image, layer, head, label).data(), result.height, result.width});
}

}  // namespace q2l
