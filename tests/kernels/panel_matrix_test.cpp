// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <numeric>
#include <query2label/kernels/panel_matrix.hpp>
#include <vector>

#include "support/poisoned_buffer.hpp"

using q2l::simd::DefaultArch;
using q2l::test::PoisonedMatrix;

namespace {

template <class T>
using Layout = q2l::kernels::PanelLayout<T, DefaultArch>;
template <class T>
using Tile = q2l::kernels::MatmulTile<T, DefaultArch>;

}  // namespace

TEMPLATE_TEST_CASE("Panels are of even width, none wider than a tile, and cover all columns",
                   "[kernels]", float, double) {
  using T = TestType;
  for (std::size_t columns = 1; columns <= 300; ++columns) {
    CAPTURE(columns);
    const Layout<T> layout{1, 1, columns};
    CHECK(layout.first_vector(0) == 0);
    CHECK(layout.first_vector(layout.panels()) == layout.vectors());
    CHECK(layout.padded_columns() >= columns);
    CHECK(layout.padded_columns() < columns + Tile<T>::lanes);
    std::size_t narrowest = Tile<T>::vectors, widest = 1;
    for (std::size_t p = 0; p < layout.panels(); ++p) {
      const std::size_t width = layout.first_vector(p + 1) - layout.first_vector(p);
      narrowest = std::min(narrowest, width);
      widest = std::max(widest, width);
    }
    CHECK(narrowest >= 1);
    CHECK(widest <= Tile<T>::vectors);
    CHECK(widest - narrowest <= 1);
  }
}

TEMPLATE_TEST_CASE("Packing puts every element into its panel once and pads with zeros",
                   "[kernels]", float, double) {
  using T = TestType;
  for (const std::size_t taps : {1u, 2u, 9u}) {
    for (const std::size_t depth : {1u, 3u, 16u}) {
      for (const std::size_t columns : {1u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 40u, 67u, 130u}) {
        CAPTURE(taps, depth, columns);
        const Layout<T> layout{taps, depth, columns};
        const std::size_t count = taps * depth * columns;
        std::vector<int> source(count);
        std::iota(source.begin(), source.end(), 1);
        PoisonedMatrix<T> target(1, layout.size());
        const std::size_t half = layout.panels() / 2;  // threads share the work by panels
        const q2l::kernels::PanelSource<int> rows{source.data(), depth * columns, columns, 1};
        q2l::kernels::pack_panels<T, DefaultArch>(layout, rows, target.view().data, half,
                                                  layout.panels());
        q2l::kernels::pack_panels<T, DefaultArch>(layout, rows, target.view().data, 0, half);
        REQUIRE(target.is_intact());

        std::vector<T> elements = target.values();  // none is NaN: all of it was written
        const q2l::kernels::PanelMatrix<T, DefaultArch> matrix{layout, elements.data()};
        bool in_place = true;
        for (std::size_t p = 0; p < layout.panels(); ++p) {
          const std::size_t begin = layout.first_vector(p) * Tile<T>::lanes;
          const std::size_t width = layout.first_vector(p + 1) * Tile<T>::lanes - begin;
          for (std::size_t row = 0; row < layout.rows(); ++row) {
            for (std::size_t n = 0; n < width; ++n) {
              const std::size_t column = begin + n;
              const T expected =
                  column < columns ? static_cast<T>(row * columns + column + 1) : T(0);
              in_place = in_place && matrix.panel(p)[row * width + n] == expected;
            }
          }
        }
        CHECK(in_place);
        std::sort(elements.begin(), elements.end());
        const auto first = std::upper_bound(elements.begin(), elements.end(), T(0));
        REQUIRE(static_cast<std::size_t>(elements.end() - first) == count);
        CHECK(std::equal(first, elements.end(), source.begin(), [](T packed, int original) {
          return packed == static_cast<T>(original);
        }));
      }
    }
  }
}

TEST_CASE("Packing follows any strides of the source, also those of a transposed matrix",
          "[kernels]") {
  const std::vector<float> source = {1, 4, 2, 5, 3, 6};  // [3, 2] holding the transpose
  const Layout<float> layout{1, 2, 3};
  std::vector<float> packed(layout.size());
  q2l::kernels::pack_panels<float, DefaultArch>(
      layout, q2l::kernels::PanelSource<float>{source.data(), 0, 1, 2}, packed.data(), 0, 1);
  CHECK(std::vector<float>(packed.begin(), packed.begin() + 3) == std::vector<float>{1, 2, 3});
  const auto second = packed.begin() + Tile<float>::lanes;
  CHECK(std::vector<float>(second, second + 3) == std::vector<float>{4, 5, 6});
}
