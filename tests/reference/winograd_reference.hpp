// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// The three matrices of F(tile, 3), by Lagrange's interpolation at 0, a, -a, ... and infinity.
struct WinogradReference {
  using Matrix = std::vector<std::vector<double>>;
  static constexpr Domain domain{0.0, 1.0};

  Matrix input;   ///< B^T [side, side]
  Matrix weight;  ///< G [side, 3]
  Matrix output;  ///< A^T [tile, side]

  explicit WinogradReference(std::size_t tile) {
    const std::vector<double> points = tile == 2
                                           ? std::vector<double>{0.0, 1.0, -1.0}
                                           : std::vector<double>{0.0, 0.625, -0.625, 1.5, -1.5};
    const std::size_t side = tile + 2;
    output.assign(tile, std::vector<double>(side, 0.0));
    for (std::size_t i = 0; i < points.size(); ++i) {
      double scale = 1.0;
      std::vector<double> others;
      for (std::size_t j = 0; j < points.size(); ++j) {
        if (j == i) continue;
        scale *= points[i] - points[j];
        others.push_back(points[j]);
      }
      input.push_back(coefficients(others, side));
      weight.push_back({1.0 / scale, points[i] / scale, points[i] * points[i] / scale});
      double power = 1.0;
      for (std::size_t y = 0; y < tile; ++y, power *= points[i]) output[y][i] = power;
    }
    input.push_back(coefficients(points, side));
    weight.push_back({0.0, 0.0, 1.0});
    output[tile - 1][side - 1] = 1.0;
  }

  /// m x m^T for a square matrix x.
  static Matrix both_sides(const Matrix& m, const Matrix& x) {
    Matrix out(m.size(), std::vector<double>(m.size(), 0.0));
    for (std::size_t i = 0; i < m.size(); ++i) {
      for (std::size_t j = 0; j < m.size(); ++j) {
        for (std::size_t r = 0; r < x.size(); ++r) {
          for (std::size_t s = 0; s < x.size(); ++s) out[i][j] += m[i][r] * x[r][s] * m[j][s];
        }
      }
    }
    return out;
  }

  static Matrix absolute(Matrix m) {
    for (auto& row : m) {
      for (double& value : row) value = std::abs(value);
    }
    return m;
  }

 private:
  /// Of the polynomial with these roots, the lowest power first.
  static std::vector<double> coefficients(const std::vector<double>& roots, std::size_t size) {
    std::vector<double> out(size, 0.0);
    out[0] = 1.0;
    for (const double root : roots) {
      for (std::size_t k = size; k-- > 0;) out[k] = (k > 0 ? out[k - 1] : 0.0) - root * out[k];
    }
    return out;
  }
};

}  // namespace q2l::test
