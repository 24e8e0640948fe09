// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/shape_check.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/matmul_kernel.hpp"
#include "query2label/kernels/matmul_panels_kernel.hpp"
#include "query2label/kernels/winograd_kernel.hpp"
#include "query2label/ops/matmul.hpp"

namespace q2l::ops {

/// The tile with which a 3x3 convolution of stride 1 and padding 1 is fastest; 0 is direct. A
/// position of a tile costs a product and, for each channel that comes or goes, its transforms,
/// which take the time of 8 (tile 2) or 14 (tile 4) multiply-adds: fitted to 16 to 304 channels on
/// maps of 28 x 28 and more with AVX2, and within 20 % of them. On smaller maps the gain is less,
/// as reading the weights takes longer than using them. Fewer channels do not fill vectors.
[[nodiscard]] constexpr std::size_t fastest_winograd_tile(std::size_t in_channels,
                                                          std::size_t out_channels) noexcept {
  constexpr std::size_t fewest_channels = 16;
  if (in_channels < fewest_channels || out_channels < fewest_channels) return 0;
  const std::size_t product = in_channels * out_channels;
  const std::size_t transformed = in_channels + out_channels;
  // multiply-adds for four by four results
  const std::size_t direct = 16 * 9 * product;
  const std::size_t tile2 = 4 * 16 * (product + 8 * transformed);
  const std::size_t tile4 = 36 * (product + 14 * transformed);
  if (direct <= std::min(tile2, tile4)) return 0;
  return tile2 <= tile4 ? 2 : 4;
}

/// The weights of a 3x3 convolution of stride 1 and padding 1, transformed for tiles of `tile` x
/// `tile` results: for each position of a tile a right operand [in_channels, out_channels]. They
/// take (tile + 2)^2 / 9 times the memory of the kernel.
template <class T, class Arch>
class WinogradConv2d {
 public:
  WinogradConv2d() = default;

  /// `kernel` [out, in, 3, 3] row-major, each filter times its `scale` [out] if there is one,
  /// `bias` [out]; `tile` is 2 or 4; `precision` f32 or, of float, bf16. Transformed in double
  /// and rounded once.
  WinogradConv2d(std::size_t tile, std::size_t in_channels, std::size_t out_channels,
                 const SharedBuffer<T>& kernel, const double* scale,
                 const SharedBuffer<double>& bias, const Threads& threads = {},
                 Precision precision = Precision::f32)
      : tile_(tile), columns_(out_channels), zeros_(in_channels) {
    assert(tile == 2 || tile == 4);
    // Whole vectors of columns: no product or transform has a remainder to treat.
    const std::size_t padded =
        kernels::PanelLayout<T, Arch>{1, in_channels, out_channels}.padded_columns();
    layout_ = {1, in_channels, padded};
    bias_ = SharedBuffer<T>::to_come(padded);
    const std::size_t size = positions() * layout_.size();
    if (precision == Precision::bf16) {
      bfloat16_panels_ = SharedBuffer<bfloat16>::to_come(size);
      ones_ = AlignedBuffer<T>(padded);
      std::fill_n(ones_.data(), padded, T(1));
    } else {
      panels_ = SharedBuffer<T>::to_come(size);
    }
    std::fill_n(zeros_.data(), in_channels, T(0));
    if (!kernel.is_known()) return;
    AlignedBuffer<T> padded_bias(padded);
    std::fill_n(padded_bias.data(), padded, T(0));
    std::transform(bias.begin(), bias.end(), padded_bias.data(),
                   [](double value) { return static_cast<T>(value); });
    bias_ = std::move(padded_bias);
    const auto fill = [&]<class W>(SharedBuffer<W>& panels) {
      panels = tile == 2
                   ? pack<W>(kernels::WinogradPoints<2>::weight, kernel.data(), scale, threads)
                   : pack<W>(kernels::WinogradPoints<4>::weight, kernel.data(), scale, threads);
    };
    if (precision == Precision::f32) {
      fill(panels_);
    } else if constexpr (std::is_same_v<T, float>) {
      fill(bfloat16_panels_);
    }
  }

  [[nodiscard]] std::size_t tile() const noexcept { return tile_; }  ///< 0 where there are none
  [[nodiscard]] std::size_t positions() const noexcept { return (tile_ + 2) * (tile_ + 2); }
  [[nodiscard]] std::size_t in_channels() const noexcept { return layout_.depth; }
  [[nodiscard]] std::size_t out_channels() const noexcept { return columns_; }
  /// Of the right operand of a position; its columns are whole vectors.
  [[nodiscard]] const kernels::PanelLayout<T, Arch>& layout() const noexcept { return layout_; }
  [[nodiscard]] bool is_bfloat16() const noexcept { return !bfloat16_panels_.empty(); }
  /// The right operand of position `p`, of type T or, if `is_bfloat16()`, bfloat16.
  template <class W>
  [[nodiscard]] kernels::PanelMatrix<T, Arch, W> panels(std::size_t p) const noexcept {
    if constexpr (std::is_same_v<W, bfloat16>) {
      return {layout_, bfloat16_panels_.data() + p * layout_.size(), ones_.data()};
    } else {
      return {layout_, panels_.data() + p * layout_.size()};
    }
  }
  [[nodiscard]] const T* bias() const noexcept { return bias_.data(); }
  [[nodiscard]] const T* zeros() const noexcept { return zeros_.data(); }

  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    visit("panels", self.panels_);
    visit("bfloat16_panels", self.bfloat16_panels_);
    visit("bias", self.bias_);
  }

 private:
  /// The two-dimensional transform weight w weight^T of every filter, a block of channels at a
  /// time.
  template <class W, class Matrix1d>
  [[nodiscard]] AlignedBuffer<W> pack(const Matrix1d& weight, const T* kernel, const double* scale,
                                      const Threads& threads) const {
    constexpr std::size_t block = 16;
    constexpr std::size_t taps = 9;
    const std::size_t depth = layout_.depth;
    AlignedBuffer<W> panels(positions() * layout_.size());
    threads.parallel_for(layout_.panels(), [&](std::size_t panel, std::size_t) {
      constexpr std::size_t lanes = kernels::MatmulTile<T, Arch>::lanes;
      const std::size_t begin = layout_.first_vector(panel) * lanes;
      const std::size_t width = layout_.first_vector(panel + 1) * lanes - begin;
      for (std::size_t task = 0; task < (depth + block - 1) / block * width; ++task) {
        const std::size_t n = task % width;
        const std::size_t c = task / width * block;
        const std::size_t channels = std::min(block, depth - c);
        double filters[taps][block] = {};  // zero in the columns that pad the last vector
        if (const std::size_t o = begin + n; o < columns_) {
          for (std::size_t i = 0; i < channels; ++i) {
            for (std::size_t t = 0; t < taps; ++t) {
              filters[t][i] = (scale != nullptr ? scale[o] : 1.0) *
                              static_cast<double>(kernel[(o * depth + c + i) * taps + t]);
            }
          }
        }
        for (std::size_t p = 0; p < positions(); ++p) {
          const auto& rows = weight[p / weight.size()];
          const auto& columns = weight[p % weight.size()];
          double sums[block] = {};
          for (std::size_t t = 0; t < taps; ++t) {
            const double factor = rows[t / 3] * columns[t % 3];
            if (factor == 0.0) continue;
            for (std::size_t i = 0; i < block; ++i) sums[i] += factor * filters[t][i];
          }
          W* const out = panels.data() + p * layout_.size() + begin * depth + c * width;
          for (std::size_t i = 0; i < channels; ++i) {
            W& element = out[kernels::PanelLayout<T, Arch>::template place<W>(i, n, width)];
            if constexpr (std::is_same_v<W, bfloat16>) {
              element = to_finite_bfloat16(static_cast<float>(sums[i]));
            } else {
              element = static_cast<W>(sums[i]);
            }
          }
        }
      }
    });
    return panels;
  }

  std::size_t tile_ = 0;
  std::size_t columns_ = 0;
  kernels::PanelLayout<T, Arch> layout_;  ///< of one position
  SharedBuffer<T> panels_;                ///< or the next
  SharedBuffer<bfloat16> bfloat16_panels_;
  SharedBuffer<T> bias_;
  AlignedBuffer<T> ones_;   ///< the columns' scales of bfloat16 panels
  AlignedBuffer<T> zeros_;  ///< a pixel of the zero border
};

namespace detail {

/// One convolution by tiles, which are numbered through the whole batch. What happens to a tile
/// does not depend on the others, nor on how they are cut into blocks.
///
/// Where two register tiles of rows fit in a block that stays in the cache, a thread takes a block
/// from input to output. Where weights are larger than that, all threads work on one large block,
/// so that each weight is read from memory once.
template <std::size_t Tile, class T, class Arch, class W>
class WinogradRun {
 public:
  using Left = typename simd::DotProduct<T, W, Arch>::Left;

  /// Transformed inputs and products of tiles `first` .. `last` - 1, [position][tile][channel].
  /// A spare line between positions keeps those of one tile off a common set of the cache.
  struct Scratch {
    Left* inputs;
    T* products;
    std::size_t input_position, product_position;  ///< elements from one position to the next
    std::size_t first, last;
  };

  WinogradRun(const WinogradConv2d<T, Arch>& layer, FeatureMap<const T> in, FeatureMap<T> out,
              const OutputOptions<T>& options)
      : layer_(layer),
        in_(in),
        out_(out),
        options_(options),
        tiles_high_((in.height + Tile - 1) / Tile),
        tiles_wide_((in.width + Tile - 1) / Tile) {}

  void run(const Context& context) const {
    constexpr std::size_t fewest_tiles = 2 * kernels::MatmulTile<T, Arch>::rows;
    const std::size_t tiles = in_.batch * tiles_high_ * tiles_wide_;
    const std::size_t panels = layer_.layout().panels();
    const Workspace::Frame frame(context.workspace);

    const std::size_t row = std::max(input_row(), product_row());
    if (const std::size_t most = own_block_bytes / (positions * row * sizeof(T));
        most >= fewest_tiles) {
      const std::size_t blocks =
          std::max((tiles + most - 1) / most, std::min(tiles / fewest_tiles, 4 * context.workers));
      const std::size_t block = (tiles + blocks - 1) / blocks;
      // A position's products take the place of the inputs before, which are done with.
      const std::size_t position = block * row + line;
      T* const all =
          context.workspace.template take<T>(context.workers * (positions + 1) * position);
      if (context.is_planning()) return;
      context.parallel_for(blocks, [&](std::size_t i, std::size_t worker) {
        const std::size_t first = tiles * i / blocks, last = tiles * (i + 1) / blocks;
        T* const own = all + worker * (positions + 1) * position;
        const Scratch scratch{reinterpret_cast<Left*>(own + position),
                              own,
                              position * (sizeof(T) / sizeof(Left)),
                              position,
                              first,
                              last};
        transform_inputs(first, last, scratch);
        for (std::size_t p = 0; p < positions; ++p) multiply(p, 0, panels, scratch);
        transform_products(first, last, scratch);
      });
      return;
    }

    const std::size_t tile_bytes =
        positions * (input_row() * sizeof(Left) + product_row() * sizeof(T));
    const std::size_t most = std::max(fewest_tiles, shared_block_bytes / tile_bytes);
    const std::size_t blocks = (tiles + most - 1) / most;
    const std::size_t block = (tiles + blocks - 1) / blocks;
    const std::size_t input_position = block * input_row() + line;
    const std::size_t product_position = block * product_row() + line;
    Left* const inputs = context.workspace.template take<Left>(positions * input_position);
    T* const products = context.workspace.template take<T>(positions * product_position);
    if (context.is_planning()) return;
    const std::size_t parts = std::min(panels, (4 * context.workers + positions - 1) / positions);
    for (std::size_t i = 0; i < blocks; ++i) {
      const Scratch scratch{inputs,           products,           input_position,
                            product_position, tiles * i / blocks, tiles * (i + 1) / blocks};
      const std::size_t count = scratch.last - scratch.first;
      context.parallel_for(count, [&](std::size_t t, std::size_t) {
        transform_inputs(scratch.first + t, scratch.first + t + 1, scratch);
      });
      context.parallel_for(positions * parts, [&](std::size_t task, std::size_t) {
        const std::size_t part = task % parts;
        multiply(task / parts, panels * part / parts, panels * (part + 1) / parts, scratch);
      });
      context.parallel_for(count, [&](std::size_t t, std::size_t) {
        transform_products(scratch.first + t, scratch.first + t + 1, scratch);
      });
    }
  }

 private:
  static constexpr std::size_t positions = kernels::winograd_positions<Tile>;
  static constexpr std::size_t line = cache_line / sizeof(T);
  /// Scratch of a block that one thread works on alone: with the weights of 64 channels it stays in
  /// a second-level cache of 1 MiB.
  static constexpr std::size_t own_block_bytes = std::size_t{384} << 10;
  /// Scratch of a block that all threads work on, position by position.
  static constexpr std::size_t shared_block_bytes = std::size_t{8} << 20;

  [[nodiscard]] std::size_t input_row() const noexcept {
    return round_up(layer_.in_channels(), line);
  }
  [[nodiscard]] std::size_t product_row() const noexcept {
    return round_up(layer_.layout().columns, line);
  }
  struct TilePlace {
    std::size_t n, y, x;  ///< of the first result
  };
  [[nodiscard]] TilePlace place(std::size_t tile) const noexcept {
    return {tile / tiles_wide_ / tiles_high_, tile / tiles_wide_ % tiles_high_ * Tile,
            tile % tiles_wide_ * Tile};
  }

  void transform_inputs(std::size_t first, std::size_t last,
                        const Scratch& scratch) const noexcept {
    constexpr std::size_t side = Tile + 2;
    for (std::size_t t = first; t < last; ++t) {
      const TilePlace at = place(t);
      const T* pixels[side * side];
      for (std::size_t i = 0; i < side * side; ++i) {
        const std::size_t y = at.y + i / side - 1;  // wraps above the top
        const std::size_t x = at.x + i % side - 1;
        pixels[i] = y < in_.height && x < in_.width ? in_.pixel(at.n, y, x) : layer_.zeros();
      }
      kernels::winograd_input_tile<Tile, T, Arch, W>(
          pixels, in_.channels, scratch.inputs + (t - scratch.first) * input_row(),
          scratch.input_position);
    }
  }

  /// Some panels of one position.
  void multiply(std::size_t p, std::size_t first_panel, std::size_t last_panel,
                const Scratch& scratch) const noexcept {
    const kernels::PanelMatrix<T, Arch, W> weights = layer_.template panels<W>(p);
    const kernels::StridedRows<Left> inputs{scratch.inputs + p * scratch.input_position,
                                            input_row()};
    T* const products =
        scratch.products + p * scratch.product_position + weights.layout.first_column(first_panel);
    const std::size_t rows = scratch.last - scratch.first;
    const W* const following =
        p + 1 < positions ? layer_.template panels<W>(p + 1).panel(first_panel) : nullptr;
    if constexpr (kernels::panel_stays_cached<T, Arch, W>()) {
      kernels::matmul_panels<T, Arch>(inputs, 0, rows, weights, first_panel, last_panel, {},
                                      products, product_row(), nullptr, following);
    } else {
      kernels::matmul_block<T, Arch>(inputs, 0, rows, weights, first_panel, last_panel, {},
                                     products, product_row(), following);
    }
  }

  void transform_products(std::size_t first, std::size_t last,
                          const Scratch& scratch) const noexcept {
    for (std::size_t t = first; t < last; ++t) {
      const TilePlace at = place(t);
      const std::size_t pixel = (at.n * out_.height + at.y) * out_.width + at.x;
      const Matrix<const T>& residual = options_.residual;
      kernels::winograd_output_tile<Tile, T, Arch>(
          scratch.products + (t - scratch.first) * product_row(), scratch.product_position,
          layer_.bias(), options_.activation, out_.channels,
          {std::min(Tile, out_.height - at.y), std::min(Tile, out_.width - at.x),
           out_.data + pixel * out_.stride, out_.width * out_.stride, out_.stride,
           residual.data ? residual.data + pixel * residual.stride : nullptr,
           out_.width * residual.stride, residual.stride});
    }
  }

  const WinogradConv2d<T, Arch>& layer_;
  FeatureMap<const T> in_;
  FeatureMap<T> out_;
  const OutputOptions<T>& options_;
  std::size_t tiles_high_, tiles_wide_;
};

template <class W, class T, class Arch>
void run_winograd(const Context& context, const WinogradConv2d<T, Arch>& layer,
                  FeatureMap<const T> in, FeatureMap<T> out, const OutputOptions<T>& options) {
  if (layer.tile() == 2) {
    WinogradRun<2, T, Arch, W>(layer, in, out, options).run(context);
  } else {
    WinogradRun<4, T, Arch, W>(layer, in, out, options).run(context);
  }
}

}  // namespace detail

/// out [N, H, W, out_channels] = activation(conv(in [N, H, W, in_channels]) + bias + residual).
/// Error: see kernels/winograd_kernel.hpp; `out` may be the residual.
/// Throws Error bad_argument when shapes do not fit.
template <class T, class Arch>
void winograd_conv2d(const Context& context, const WinogradConv2d<T, Arch>& layer,
                     FeatureMap<const T> in, FeatureMap<T> out,
                     const OutputOptions<T>& options = {}) {
  require_equal(in.channels, layer.in_channels(), "winograd_conv2d: channels of in");
  require_equal(out.channels, layer.out_channels(), "winograd_conv2d: channels of out");
  require_equal(out.batch, in.batch, "winograd_conv2d: batch of out");
  require_equal(out.height, in.height, "winograd_conv2d: height of out");
  require_equal(out.width, in.width, "winograd_conv2d: width of out");
  if (options.residual.data) {
    require_equal(options.residual.rows, out.pixel_count(), "winograd_conv2d: rows of residual");
    require_equal(options.residual.columns, out.channels, "winograd_conv2d: columns of residual");
  }
  if (out.pixel_count() == 0 || out.channels == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (layer.is_bfloat16())
      return detail::run_winograd<bfloat16>(context, layer, in, out, options);
  }
  detail::run_winograd<T>(context, layer, in, out, options);
}

}  // namespace q2l::ops
