// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/kernels/tile_matmul_kernel.hpp>
#include <utility>
#include <vector>

#include "reference/linear_reference.hpp"
#include "support/comparator.hpp"
#include "support/emulated_tiles.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::bfloat16;
using q2l::kernels::TiledRows;
using q2l::simd::DefaultArch;

namespace {

constexpr std::size_t float_lanes = q2l::simd::Batch<float, DefaultArch>::size;
constexpr std::size_t tile_depth = q2l::simd::tile_bytes / sizeof(bfloat16);
constexpr bfloat16 bfloat16_nan{0x7FC0};

/// Numbers that are bfloat16 already, and the same as such.
std::vector<float> rounded(std::vector<float> values) {
  for (float& x : values) x = static_cast<float>(q2l::to_bfloat16(x));
  return values;
}

/// A right operand [taps * depth, columns] of bfloat16 from `weight` [columns, taps * depth].
class Panels {
 public:
  Panels(std::size_t taps, std::size_t depth, std::size_t columns, const std::vector<float>& weight)
      : layout_{taps, depth, columns, 2 * q2l::simd::tile_rows / float_lanes},
        // A panel narrower than a tile is read past its end.
        panels_(layout_.size() + q2l::simd::tile_rows * tile_depth, bfloat16_nan),
        scale_(layout_.padded_columns(), 1.0f) {
    q2l::kernels::pack_panels<float, DefaultArch, bfloat16>(
        layout_, q2l::kernels::PanelSource<float>{weight.data(), depth, 1, taps * depth},
        [](float x, std::size_t) { return q2l::to_bfloat16(x); }, panels_.data(), 0,
        layout_.panels());
  }
  [[nodiscard]] q2l::kernels::PanelMatrix<float, DefaultArch, bfloat16> matrix() const {
    return {layout_, panels_.data(), scale_.data()};
  }

 private:
  q2l::kernels::PanelLayout<float, DefaultArch> layout_;
  std::vector<bfloat16> panels_;
  std::vector<float> scale_;
};

/// Rows of `depth` elements, each padded with zeros to whole steps; garbage fills the last tile.
std::vector<bfloat16> padded_rows(const std::vector<float>& values, std::size_t depth) {
  const std::size_t rows = values.size() / depth, stride = q2l::round_up(depth, tile_depth);
  std::vector<bfloat16> out((rows + q2l::simd::tile_rows) * stride, bfloat16_nan);
  for (std::size_t r = 0; r < rows; ++r) {
    std::fill_n(out.data() + r * stride, stride, bfloat16{0});
    std::transform(values.data() + r * depth, values.data() + (r + 1) * depth,
                   out.data() + r * stride, q2l::to_bfloat16);
  }
  return out;
}

}  // namespace

TEST_CASE("Left rows of tiles are whole lines that spread over the sets of a cache", "[kernels]") {
  for (const std::size_t step : {1u, 2u, 4u}) {
    for (std::size_t bytes = 1; bytes <= 9000; ++bytes) {
      const std::size_t padded = q2l::kernels::tiled_pixel_bytes(bytes, step);
      const bool fits = padded >= bytes && padded < bytes + 2 * q2l::simd::tile_bytes &&
                        padded % q2l::simd::tile_bytes == 0 && step * padded % 512 != 0;
      if (!fits) FAIL("step " << step << ", bytes " << bytes << ": " << padded);
    }
  }
}

TEST_CASE("Products on tile registers are right for all remainders of rows, columns and depth",
          "[kernels]") {
  for (const std::size_t depth : {4u, 28u, 32u, 60u, 64u, 100u, 512u, 516u, 1300u}) {
    for (const std::size_t rows : {1u, 15u, 16u, 17u, 33u, 48u, 530u}) {
      for (const std::size_t columns : {1u, 16u, 31u, 32u, 33u, 80u}) {
        if (depth * rows * columns > 3'000'000) continue;
        CAPTURE(depth, rows, columns);
        const std::vector<float> left = rounded(fill("left", rows * depth, 0.0, 1.0, 1));
        const std::vector<float> weight = rounded(fill("weight", columns * depth, 0.0, 1.0, 2));
        const std::vector<float> bias = fill("bias", columns, 0.0, 1.0, 3);
        const std::vector<float> residual = fill("residual", rows * columns, 0.0, 1.0, 4);
        const Panels panels(1, depth, columns, weight);
        const std::vector<bfloat16> narrow = padded_rows(left, depth);
        std::vector<float> padded_bias = bias;
        padded_bias.resize(panels.matrix().layout.padded_columns());
        const TiledRows<bfloat16> tiled{
            narrow.data(), 1, rows, q2l::round_up(depth, tile_depth), 0, 1, 0};
        PoisonedMatrix<float> out(rows, columns);
        const q2l::kernels::Epilogue<float> epilogue{padded_bias.data(), residual.data(), columns,
                                                     q2l::Activation::leaky_relu(0.1)};
        EmulatedTiles<bfloat16> tiles;
        // in two parts, as threads would
        const std::size_t middle = tiled.tiles() / 4 * 2;
        for (const auto& [first, last] :
             {std::pair{std::size_t{0}, middle}, {middle, tiled.tiles()}}) {
          q2l::kernels::matmul_tiles<float, DefaultArch>(
              tiles, tiled, first, last, panels.matrix(), 0, panels.matrix().layout.panels(),
              epilogue, out.view().data + tiled.first_row(first) * out.view().stride,
              out.view().stride);
        }
        CHECK(differences(out.view(),
                          LinearReference::apply<float>(
                              {rows, depth, left}, {columns, depth, weight}, {1, columns, bias},
                              {rows, columns, residual}, epilogue.activation)) == "");
        CHECK(out.is_intact());
      }
    }
  }
}

TEST_CASE("Convolutions on tile registers read each tap where it lies", "[kernels]") {
  // two maps with a border of 1, 3 x 3 taps, stride 2
  constexpr std::size_t batch = 2, height = 9, width = 41, kernel = 3, stride = 2, columns = 20;
  constexpr std::size_t out_height = (height - kernel) / stride + 1;
  constexpr std::size_t out_width = (width - kernel) / stride + 1;
  for (const std::size_t channels : {4u, 12u, 20u, 32u, 100u}) {
    const std::size_t taps = kernel * kernel, pixel = q2l::round_up(channels, tile_depth);
    const std::vector<float> map =
        rounded(fill("map", batch * height * width * channels, 0.0, 1.0, 1));
    const std::vector<float> weight = rounded(fill("w", columns * taps * channels, 0.0, 1.0, 2));
    const Panels panels(taps, channels, columns, weight);
    const std::vector<bfloat16> narrow = padded_rows(map, channels);
    const TiledRows<bfloat16> tiled{.data = narrow.data(),
                                    .lines = batch * out_height,
                                    .line_rows = out_width,
                                    .row_stride = stride * pixel,
                                    .line_stride = stride * width * pixel,
                                    .image_lines = out_height,
                                    .image_stride = height * width * pixel,
                                    .kernel = kernel,
                                    .tap_stride = pixel,
                                    .kernel_row_stride = width * pixel};
    const std::size_t rows = batch * out_height * out_width;
    std::vector<float> gathered;  // [rows, taps * channels]
    for (std::size_t i = 0; i < rows; ++i) {
      const std::size_t n = i / out_width / out_height, y = i / out_width % out_height;
      for (std::size_t t = 0; t < taps; ++t) {
        const std::size_t from =
            (n * height + y * stride + t / kernel) * width + i % out_width * stride + t % kernel;
        gathered.insert(gathered.end(), map.data() + from * channels,
                        map.data() + (from + 1) * channels);
      }
    }
    PoisonedMatrix<float> out(rows, columns);
    EmulatedTiles<bfloat16> tiles;
    q2l::kernels::matmul_tiles<float, DefaultArch>(tiles, tiled, 0, tiled.tiles(), panels.matrix(),
                                                   0, panels.matrix().layout.panels(), {},
                                                   out.view().data, out.view().stride);
    CAPTURE(channels);
    CHECK(differences(out.view(),
                      LinearReference::apply<float>({rows, taps * channels, gathered},
                                                    {columns, taps * channels, weight}, {})) == "");
    CHECK(out.is_intact());
  }
}
