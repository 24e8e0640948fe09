// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <query2label/kernels/winograd_kernel.hpp>
#include <vector>

#include "reference/activation_reference.hpp"
#include "reference/winograd_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::simd::DefaultArch;

namespace {

constexpr std::size_t most_lanes = 16;

template <class T>
constexpr std::size_t whole_vectors(std::size_t channels) {
  constexpr std::size_t lanes = q2l::simd::Batch<T, DefaultArch>::size;
  return (channels + lanes - 1) / lanes * lanes;
}

/// m x m^T channel by channel for the pixels x [side^2, channels]; each of the two passes rounds
/// `roundings` times.
template <class T>
Estimate transform(const WinogradReference::Matrix& m, const Estimate& x, std::size_t roundings) {
  const std::size_t side = m[0].size();
  Estimate out(m.size() * m.size(), x.columns);
  for (std::size_t c = 0; c < x.columns; ++c) {
    WinogradReference::Matrix one(side, std::vector<double>(side));
    for (std::size_t i = 0; i < side * side; ++i) one[i / side][i % side] = x.value[x.at(i, c)];
    const auto value = WinogradReference::both_sides(m, one);
    const auto magnitude = WinogradReference::both_sides(WinogradReference::absolute(m),
                                                         WinogradReference::absolute(one));
    for (std::size_t i = 0; i < out.rows; ++i) {
      const std::size_t at = out.at(i, c);
      out.value[at] = value[i / m.size()][i % m.size()];
      out.error[at] =
          static_cast<double>(2 * roundings) * rounding<T> * magnitude[i / m.size()][i % m.size()];
    }
  }
  return out;
}

template <std::size_t Tile, class T>
void check_input() {
  constexpr std::size_t positions = q2l::kernels::winograd_positions<Tile>;
  const WinogradReference reference(Tile);
  for (std::size_t channels = 1; channels <= 2 * most_lanes + 1; ++channels) {
    CAPTURE(Tile, channels);
    const std::vector<float> values = fill("in", positions * channels, 0.0, 1.0, 1);
    const PoisonedMatrix<T> in(positions, channels, values);
    const T* pixels[positions];
    for (std::size_t p = 0; p < positions; ++p) pixels[p] = in.view().row(p);
    PoisonedMatrix<T> out(positions, whole_vectors<T>(channels));
    q2l::kernels::winograd_input_tile<Tile, T, DefaultArch>(pixels, channels, out.view().data,
                                                            out.view().stride);
    CHECK(differences(out.view().column_range(0, channels),
                      transform<T>(reference.input, {positions, channels, values}, 2)) == "");
    CHECK(out.is_intact());
  }
}

/// Tiles with `rows` x `columns` results, stored to a map five wide of which nothing else changes.
template <std::size_t Tile, class T>
void check_output(std::size_t rows, std::size_t columns, bool has_residual,
                  const Activation& activation) {
  constexpr std::size_t positions = q2l::kernels::winograd_positions<Tile>;
  constexpr std::size_t width = 5;
  const WinogradReference reference(Tile);
  for (const std::size_t channels : {1u, 7u, 8u, 19u, 33u}) {
    CAPTURE(Tile, channels, rows, columns, has_residual, static_cast<int>(activation.kind));
    const std::size_t padded = whole_vectors<T>(channels);
    const PoisonedMatrix<T> products(positions, padded,
                                     fill("products", positions * padded, 0.0, 1.0, 1));
    const PoisonedMatrix<T> bias(1, padded, fill("bias", padded, 0.0, 1.0, 2));
    const std::vector<float> before = fill("residual", width * width * channels, 0.0, 1.0, 3);
    const PoisonedMatrix<T> residual(width * width, channels, before, 5);
    PoisonedMatrix<T> out(width * width, channels, before);
    q2l::kernels::winograd_output_tile<Tile, T, DefaultArch>(
        products.view().data, products.view().stride, bias.view().data, activation, channels,
        {rows, columns, out.view().data, width * out.view().stride, out.view().stride,
         has_residual ? residual.view().data : nullptr, width * residual.view().stride,
         residual.view().stride});

    Estimate used(positions, channels);
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t c = 0; c < channels; ++c) {
        used.value[used.at(p, c)] = static_cast<double>(products.view().row(p)[c]);
      }
    }
    const Estimate tile = transform<T>(reference.output, used, 3);
    Estimate expected(width * width, channels, before);
    for (std::size_t y = 0; y < rows; ++y) {
      for (std::size_t x = 0; x < columns; ++x) {
        Estimate pixel(1, channels);
        for (std::size_t c = 0; c < channels; ++c) {
          const std::size_t from = tile.at(y * Tile + x, c);
          const double offset = static_cast<double>(bias.view().row(0)[c]);
          const double added = has_residual ? expected.value[expected.at(y * width + x, c)] : 0.0;
          pixel.value[c] = tile.value[from] + offset + added;
          pixel.error[c] =
              tile.error[from] +
              2.0 * rounding<T> * (std::abs(tile.value[from]) + std::abs(offset) + std::abs(added));
        }
        pixel = ActivationReference::apply<T>(activation, pixel);
        for (std::size_t c = 0; c < channels; ++c) {
          expected.value[expected.at(y * width + x, c)] = pixel.value[c];
          expected.error[expected.at(y * width + x, c)] = pixel.error[c];
        }
      }
    }
    CHECK(differences(out.view(), expected) == "");
    CHECK(out.is_intact());
  }
}

/// The largest difference of one tile, in double, from the convolution's definition.
template <std::size_t Tile>
double identity_error() {
  constexpr std::size_t side = Tile + 2;
  const std::vector<float> in = fill("in", side * side, 0.0, 1.0, 1);
  const std::vector<float> kernel = fill("kernel", 9, 0.0, 1.0, 2);
  double transformed[side * side];
  const double* pixels[side * side];
  const std::vector<double> wide(in.begin(), in.end());
  for (std::size_t i = 0; i < side * side; ++i) pixels[i] = wide.data() + i;
  double padded[side * side * most_lanes], products[side * side * most_lanes] = {};
  q2l::kernels::winograd_input_tile<Tile, double, DefaultArch>(pixels, 1, padded, most_lanes);
  for (std::size_t i = 0; i < side * side; ++i) transformed[i] = padded[i * most_lanes];
  const auto& weight = q2l::kernels::WinogradPoints<Tile>::weight;
  for (std::size_t i = 0; i < side * side; ++i) {
    double w = 0.0;
    for (std::size_t t = 0; t < 9; ++t) {
      w += weight[i / side][t / 3] * weight[i % side][t % 3] * static_cast<double>(kernel[t]);
    }
    products[i * most_lanes] = w * transformed[i];
  }
  double out[Tile * Tile];
  const double bias[most_lanes] = {};
  q2l::kernels::winograd_output_tile<Tile, double, DefaultArch>(
      products, most_lanes, bias, {}, 1, {Tile, Tile, out, Tile, 1, nullptr, 0, 0});
  double worst = 0.0;
  for (std::size_t i = 0; i < Tile * Tile; ++i) {
    double sum = 0.0;
    for (std::size_t t = 0; t < 9; ++t) {
      sum += wide[(i / Tile + t / 3) * side + i % Tile + t % 3] * static_cast<double>(kernel[t]);
    }
    worst = std::max(worst, std::abs(out[i] - sum));
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("Winograd's input transform is that of its points for any number of channels",
                   "[kernels]", float, double) {
  check_input<2, TestType>();
  check_input<4, TestType>();
}

TEMPLATE_TEST_CASE("Winograd's output transform writes just the results that exist", "[kernels]",
                   float, double) {
  for (std::size_t rows = 1; rows <= 4; ++rows) {
    for (std::size_t columns = 1; columns <= 4; ++columns) {
      if (rows <= 2 && columns <= 2) check_output<2, TestType>(rows, columns, false, {});
      check_output<4, TestType>(rows, columns, false, {});
    }
  }
}

TEMPLATE_TEST_CASE("Winograd's output transform adds a residual and applies each activation",
                   "[kernels]", float, double) {
  for (const Activation& activation :
       {Activation::identity(), Activation::relu(), Activation::leaky_relu(1e-2),
        Activation::gelu(), Activation::quick_gelu()}) {
    for (const bool has_residual : {false, true}) {
      check_output<2, TestType>(2, 2, has_residual, activation);
      check_output<4, TestType>(4, 3, has_residual, activation);
    }
  }
}

TEST_CASE("Winograd's three transforms together are a convolution", "[kernels]") {
  CHECK(identity_error<2>() < 1e-14);
  CHECK(identity_error<4>() < 1e-13);
}
