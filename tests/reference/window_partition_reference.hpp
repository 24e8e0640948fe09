// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <query2label/ops/window_partition.hpp>
#include <vector>

#include "reference/estimate.hpp"

namespace q2l::test {

/// Cutting a grid into shifted windows step by step, as arXiv 2103.14030 describes it: pad, roll,
/// cut. Exact.
struct WindowPartitionReference {
  static constexpr std::size_t padding = ~std::size_t{0};

  ops::WindowPartition p;

  [[nodiscard]] std::size_t padded_height() const { return p.windows_down() * p.window; }
  [[nodiscard]] std::size_t padded_width() const { return p.windows_across() * p.window; }

  /// For each token in window order, which place it has in the padded grids [N, H', W'].
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

  /// For each token in window order, which pixel of the grids [N, H, W] it is, or `padding`.
  [[nodiscard]] std::vector<std::size_t> pixel_of_token() const {
    const std::size_t height = padded_height(), width = padded_width();
    std::vector<std::size_t> rolled(p.batch * height * width, padding);
    for (std::size_t pixel = 0; pixel < p.batch * p.height * p.width; ++pixel) {
      const std::size_t n = pixel / p.width / p.height;
      const std::size_t y = (pixel / p.width % p.height + height - p.shift) % height;
      const std::size_t x = (pixel % p.width + width - p.shift) % width;
      rolled[(n * height + y) * width + x] = pixel;
    }
    std::vector<std::size_t> out;
    for (const std::size_t place : window_order()) out.push_back(rolled[place]);
    return out;
  }

  /// The tokens [windows S^2, C] of the grids `in` [N H W, C].
  [[nodiscard]] Estimate to_windows(const Estimate& in) const {
    const std::vector<std::size_t> pixels = pixel_of_token();
    Estimate out(pixels.size(), in.columns);
    for (std::size_t token = 0; token < pixels.size(); ++token) {
      if (pixels[token] != padding) copy_row(in, pixels[token], out, token);
    }
    return out;
  }

  /// The way back: the grids [N H W, C] of `tokens`.
  [[nodiscard]] Estimate to_grid(const Estimate& tokens) const {
    const std::vector<std::size_t> pixels = pixel_of_token();
    Estimate out(p.batch * p.height * p.width, tokens.columns);
    for (std::size_t token = 0; token < pixels.size(); ++token) {
      if (pixels[token] != padding) copy_row(tokens, token, out, pixels[token]);
    }
    return out;
  }

  /// Relative position bias and mask of each window [windows A S^2, S^2], the bias from the table
  /// [(2 W - 1)^2, A] of windows of W x W >= S x S, the mask -100 between tokens of different
  /// regions of the rolled grid, which the shift put next to each other.
  [[nodiscard]] Estimate bias_and_masks(const Estimate& table, std::size_t table_window) const {
    const auto slice = [&](std::size_t at, std::size_t extent) {
      return at < extent - p.window ? 0 : at < extent - p.shift ? 1 : 2;
    };
    const auto region = [&](std::size_t place) {
      return 3 * slice(place / padded_width() % padded_height(), padded_height()) +
             slice(place % padded_width(), padded_width());
    };
    const std::vector<std::size_t> order = window_order();
    const std::size_t heads = table.columns, tokens = p.window * p.window;
    const long s = static_cast<long>(p.window), w = static_cast<long>(table_window);
    Estimate out(p.windows() * heads * tokens, tokens);
    for (std::size_t row = 0; row < out.rows; ++row) {
      const std::size_t window = row / tokens / heads, h = row / tokens % heads;
      for (std::size_t column = 0; column < tokens; ++column) {
        const long q = static_cast<long>(row % tokens), k = static_cast<long>(column);
        const long below = q / s - k / s, right = q % s - k % s;
        const long entry = (below + w - 1) * (2 * w - 1) + right + w - 1;
        const bool apart = region(order[window * tokens + row % tokens]) !=
                           region(order[window * tokens + column]);
        out.value[out.at(row, column)] = table.value[table.at(static_cast<std::size_t>(entry), h)] +
                                         (p.shift > 0 && apart ? -100.0 : 0.0);
      }
    }
    return out;
  }

 private:
  static void copy_row(const Estimate& in, std::size_t from, Estimate& out, std::size_t to) {
    for (std::size_t c = 0; c < in.columns; ++c) {
      out.value[out.at(to, c)] = in.value[in.at(from, c)];
      out.error[out.at(to, c)] = in.error[in.at(from, c)];
    }
  }
};

}  // namespace q2l::test
