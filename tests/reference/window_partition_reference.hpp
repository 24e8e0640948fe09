// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/core/tensor.hpp>
#include <query2label/ops/window_partition.hpp>
#include <vector>

namespace q2l::test {

/// Cutting a grid into shifted windows step by step, as arXiv 2103.14030 describes it: pad, roll,
/// cut. Exact.
struct WindowPartitionReference {
  ops::WindowPartition p;

  [[nodiscard]] std::size_t padded_height() const { return p.windows_down() * p.window; }
  [[nodiscard]] std::size_t padded_width() const { return p.windows_across() * p.window; }

  /// For each token in window order, where it is in the padded and rolled grids
  /// [N, padded_height, padded_width].
  [[nodiscard]] std::vector<std::size_t> window_order() const {
    std::vector<std::size_t> order;
    for (std::size_t n = 0; n < p.batch; ++n) {
      for (std::size_t top = 0; top < padded_height(); top += p.window) {
        for (std::size_t left = 0; left < padded_width(); left += p.window) {
          for (std::size_t y = top; y < top + p.window; ++y) {
            for (std::size_t x = left; x < left + p.window; ++x) {
              order.push_back((n * padded_height() + y) * padded_width() + x);
            }
          }
        }
      }
    }
    return order;
  }

  /// The tokens [windows S^2, C] of the grids `in`.
  template <class T>
  [[nodiscard]] std::vector<T> to_windows(FeatureMap<const T> in) const {
    const std::size_t height = padded_height(), width = padded_width(), channels = in.channels;
    std::vector<T> rolled(p.batch * height * width * channels, T(0));
    for (std::size_t n = 0; n < p.batch; ++n) {
      for (std::size_t y = 0; y < p.height; ++y) {
        for (std::size_t x = 0; x < p.width; ++x) {
          const std::size_t to_y = (y + height - p.shift) % height;
          const std::size_t to_x = (x + width - p.shift) % width;
          for (std::size_t c = 0; c < channels; ++c) {
            rolled[((n * height + to_y) * width + to_x) * channels + c] = in.pixel(n, y, x)[c];
          }
        }
      }
    }
    std::vector<T> out;
    for (const std::size_t token : window_order()) {
      out.insert(out.end(), &rolled[token * channels], &rolled[token * channels] + channels);
    }
    return out;
  }

  /// The way back: the grids [N, H, W, C] of `tokens`.
  template <class T>
  [[nodiscard]] std::vector<T> to_grid(Matrix<const T> tokens) const {
    const std::size_t height = padded_height(), width = padded_width();
    const std::vector<std::size_t> order = window_order();
    std::vector<const T*> rolled(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) rolled[order[i]] = tokens.row(i);
    std::vector<T> out;
    for (std::size_t n = 0; n < p.batch; ++n) {
      for (std::size_t y = 0; y < p.height; ++y) {
        for (std::size_t x = 0; x < p.width; ++x) {
          const std::size_t from_y = (y + height - p.shift) % height;
          const std::size_t from_x = (x + width - p.shift) % width;
          const T* token = rolled[(n * height + from_y) * width + from_x];
          out.insert(out.end(), token, token + tokens.columns);
        }
      }
    }
    return out;
  }

  /// [windows, S^2, S^2]: -100 between tokens of different regions of the rolled grid, which the
  /// shift put next to each other; else 0.
  [[nodiscard]] std::vector<double> masks() const {
    const auto slice = [&](std::size_t at, std::size_t extent) {
      return at < extent - p.window ? 0 : at < extent - p.shift ? 1 : 2;
    };
    const auto region = [&](std::size_t token) {
      const std::size_t y = token / padded_width() % padded_height();
      return 3 * slice(y, padded_height()) + slice(token % padded_width(), padded_width());
    };
    const std::vector<std::size_t> order = window_order();
    const std::size_t size = p.window * p.window;
    std::vector<double> out;
    for (std::size_t q = 0; q < order.size(); ++q) {
      const std::size_t first = q / size * size;
      for (std::size_t k = first; k < first + size; ++k) {
        out.push_back(region(order[q]) == region(order[k]) ? 0.0 : -100.0);
      }
    }
    return out;
  }

  /// [A, S^2, S^2] from the table [(2 W - 1)^2, A] of windows of W x W >= S x S.
  template <class T>
  [[nodiscard]] std::vector<T> relative_position_bias(const std::vector<T>& table,
                                                      std::size_t table_window,
                                                      std::size_t heads) const {
    const long s = static_cast<long>(p.window), w = static_cast<long>(table_window);
    std::vector<T> out;
    for (std::size_t h = 0; h < heads; ++h) {
      for (long q = 0; q < s * s; ++q) {
        for (long k = 0; k < s * s; ++k) {
          const long down = q / s - k / s, right = q % s - k % s;
          const long row = (down + w - 1) * (2 * w - 1) + right + w - 1;
          out.push_back(table[static_cast<std::size_t>(row) * heads + h]);
        }
      }
    }
    return out;
  }
};

}  // namespace q2l::test
