// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>

#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308) for 3x3 kernels of stride 1: a
// tile of Tile x Tile results comes from (Tile + 2)^2 inputs by as many multiplications per channel
// instead of 9 Tile^2: out = A^T [(G w G^T) * (B^T in B)] A, the product * taken position by
// position and summed over channels, which makes (Tile + 2)^2 matrix products over all tiles.
//
// The matrices follow from the points at which the polynomials are evaluated: 0, 1, -1 and infinity
// for Tile 2; 0, a, -a, b, -b and infinity for Tile 4. All entries of A and B are exact in float,
// so that only arithmetic rounds. a and b decide the error: over 256 channels the usual 1 and 2
// give 2.3 times the rms error of 5/8 and 3/2.
//
// Rounding errors are at most (C + 13) u |A|^T (sum over c of |G w G^T| * (|B|^T |in| |B|)) |A| for
// C channels and the unit roundoff u: C of the product, 1 of the weight, 2 of each pass over the
// input, 3 of each over the products, bias and residual. Measured against double, in float,
// relative to the rms of the results, for 64 and 256 channels:
//   directly 2.0e-7 and 2.2e-7, Tile 2 2.3e-7 and 4.3e-7, Tile 4 6.4e-7 and 1.3e-6.

namespace q2l::kernels {

/// The transforms of one dimension for tiles of `Tile` results.
template <std::size_t Tile>
struct WinogradPoints;

template <>
struct WinogradPoints<2> {
  static constexpr std::size_t positions = 4;

  /// G: row p gives position p of a kernel.
  static constexpr std::array<std::array<double, 3>, positions> weight{
      {{-1.0, 0.0, 0.0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0.0, 0.0, 1.0}}};

  /// B^T in.
  template <class T, class Arch>
  static void input(const simd::Batch<T, Arch> (&in)[4], simd::Batch<T, Arch> (&out)[4]) noexcept {
    out[0] = in[2] - in[0];
    out[1] = in[1] + in[2];
    out[2] = in[2] - in[1];
    out[3] = in[3] - in[1];
  }

  /// A^T in.
  template <class T, class Arch>
  static void output(const simd::Batch<T, Arch> (&in)[4], simd::Batch<T, Arch> (&out)[2]) noexcept {
    out[0] = in[0] + in[1] + in[2];
    out[1] = in[1] - in[2] + in[3];
  }
};

template <>
struct WinogradPoints<4> {
  static constexpr std::size_t positions = 6;
  static constexpr double a = 0.625, b = 1.5;
  static constexpr double a2 = a * a, b2 = b * b;

  static constexpr double at_a = 1.0 / (2.0 * a2 * (a2 - b2));  // 1 / product of differences
  static constexpr double at_b = 1.0 / (2.0 * b2 * (b2 - a2));
  static constexpr std::array<std::array<double, 3>, positions> weight{{{1.0 / (a2 * b2), 0.0, 0.0},
                                                                        {at_a, at_a* a, at_a* a2},
                                                                        {at_a, -at_a* a, at_a* a2},
                                                                        {at_b, at_b* b, at_b* b2},
                                                                        {at_b, -at_b* b, at_b* b2},
                                                                        {0.0, 0.0, 1.0}}};

  template <class T, class Arch>
  static void input(const simd::Batch<T, Arch> (&in)[6], simd::Batch<T, Arch> (&out)[6]) noexcept {
    using B = simd::Batch<T, Arch>;
    const auto fma = [](B x, double factor, B y) { return simd::fma<T, Arch>(x, B(T(factor)), y); };
    const B even_a = fma(in[2], -b2, in[4]), odd_a = fma(in[1], -b2, in[3]);
    const B even_b = fma(in[2], -a2, in[4]), odd_b = fma(in[1], -a2, in[3]);
    out[0] = fma(in[0], a2 * b2, fma(in[2], -(a2 + b2), in[4]));
    out[1] = fma(odd_a, a, even_a);
    out[2] = fma(odd_a, -a, even_a);
    out[3] = fma(odd_b, b, even_b);
    out[4] = fma(odd_b, -b, even_b);
    out[5] = fma(in[1], a2 * b2, fma(in[3], -(a2 + b2), in[5]));
  }

  template <class T, class Arch>
  static void output(const simd::Batch<T, Arch> (&in)[6], simd::Batch<T, Arch> (&out)[4]) noexcept {
    using B = simd::Batch<T, Arch>;
    const auto fma = [](B x, double factor, B y) { return simd::fma<T, Arch>(x, B(T(factor)), y); };
    const B sum_a = in[1] + in[2], difference_a = in[1] - in[2];
    const B sum_b = in[3] + in[4], difference_b = in[3] - in[4];
    out[0] = in[0] + (sum_a + sum_b);
    out[1] = fma(difference_a, a, B(T(b)) * difference_b);
    out[2] = fma(sum_a, a2, B(T(b2)) * sum_b);
    out[3] = fma(difference_a, a2 * a, fma(difference_b, b2 * b, in[5]));
  }
};

/// Positions of a tile: each is one matrix product.
template <std::size_t Tile>
inline constexpr std::size_t winograd_positions = (Tile + 2) * (Tile + 2);

/// The transformed input of one tile: position p of channel c at `out[p * position_stride + c]`,
/// where whole vectors of channels are written, as left operands of weights of type `W`. `pixels`
/// holds the addresses of the (Tile + 2)^2 input pixels, row by row.
template <std::size_t Tile, class T, class Arch, class W = T>
inline void winograd_input_tile(const T* const* pixels, std::size_t channels,
                                typename simd::DotProduct<T, W, Arch>::Left* out,
                                std::size_t position_stride) noexcept {
  using B = simd::Batch<T, Arch>;
  using Points = WinogradPoints<Tile>;
  constexpr std::size_t side = Points::positions;
  simd::for_each_lane_group<T, Arch>(channels, [&](std::size_t c, auto load, auto) {
    B half[side][side];  // [column][position of rows]
    for (std::size_t x = 0; x < side; ++x) {
      B column[side];
      Q2L_UNROLL
      for (std::size_t y = 0; y < side; ++y) column[y] = load(pixels[y * side + x] + c);
      Points::template input<T, Arch>(column, half[x]);
    }
    for (std::size_t y = 0; y < side; ++y) {
      B row[side], transformed[side];
      Q2L_UNROLL
      for (std::size_t x = 0; x < side; ++x) row[x] = half[x][y];
      Points::template input<T, Arch>(row, transformed);
      Q2L_UNROLL
      for (std::size_t x = 0; x < side; ++x) {
        simd::DotProduct<T, W, Arch>::store_left(transformed[x],
                                                 out + (y * side + x) * position_stride + c);
      }
    }
  });
}

/// Where the results of a tile go: rows and columns of pixels that exist, the address of the first
/// and the distances between them; the residual likewise.
template <class T>
struct WinogradTarget {
  std::size_t rows, columns;
  T* out;
  std::size_t row_stride, pixel_stride;
  const T* residual;  ///< may be null
  std::size_t residual_row_stride, residual_pixel_stride;
};

/// activation(A^T products A + bias + residual) for `channels` channels of one tile, whose position
/// p lies at `products[p * position_stride + c]`. `products` and `bias` have whole vectors.
template <std::size_t Tile, class T, class Arch>
inline void winograd_output_tile(const T* products, std::size_t position_stride, const T* bias,
                                 Activation activation, std::size_t channels,
                                 const WinogradTarget<T>& to) noexcept {
  using B = simd::Batch<T, Arch>;
  using Points = WinogradPoints<Tile>;
  constexpr std::size_t side = Points::positions;
  const bool is_leaky = activation.kind == Activation::Kind::leaky_relu;
  const T slope = static_cast<T>(activation.negative_slope);
  simd::for_each_lane_group<T, Arch>(channels, [&](std::size_t c, auto load, auto store) {
    B half[side][Tile];  // [column][row of results]
    for (std::size_t x = 0; x < side; ++x) {
      B column[side];
      Q2L_UNROLL
      for (std::size_t y = 0; y < side; ++y) {
        column[y] = B::load_unaligned(products + (y * side + x) * position_stride + c);
      }
      Points::template output<T, Arch>(column, half[x]);
    }
    const B offset = B::load_unaligned(bias + c);
    for (std::size_t y = 0; y < to.rows; ++y) {
      B row[side], results[Tile];
      Q2L_UNROLL
      for (std::size_t x = 0; x < side; ++x) row[x] = half[x][y];
      Points::template output<T, Arch>(row, results);
      Q2L_UNROLL
      for (std::size_t x = 0; x < Tile; ++x) {
        if (x >= to.columns) break;
        B value = results[x] + offset;
        if (to.residual) {
          value +=
              load(to.residual + y * to.residual_row_stride + x * to.residual_pixel_stride + c);
        }
        if (is_leaky) value = leaky_relu<T, Arch>(value, slope);
        store(to.out + y * to.row_stride + x * to.pixel_stride + c, value);
      }
    }
  });
  if (is_leaky || activation.kind == Activation::Kind::identity) return;
  for (std::size_t y = 0; y < to.rows; ++y) {
    for (std::size_t x = 0; x < to.columns; ++x) {
      activate_row<T, Arch>(activation, to.out + y * to.row_stride + x * to.pixel_stride, channels);
    }
  }
}

}  // namespace q2l::kernels
