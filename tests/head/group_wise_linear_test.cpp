// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <numeric>
#include <query2label/head/group_wise_linear.hpp>
#include <span>
#include <vector>

#include "reference/group_wise_linear_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

std::vector<float> weight_of(std::size_t labels, std::size_t width) {
  return fill("fc.W", labels * width, 0.0, 1.0, 1);
}
std::vector<float> bias_of(std::size_t labels) { return fill("fc.b", labels, 0.0, 1.0, 1); }

template <class T>
q2l::GroupWiseLinear<T> load(std::size_t labels, std::size_t width) {
  q2l::WeightMap map;
  map.add("fc.W", {1, labels, width}, [=] { return weight_of(labels, width); });
  map.add("fc.b", {1, labels}, [=] { return bias_of(labels); });
  auto layer = q2l::GroupWiseLinear<T>::load(map, labels, width);
  map.finish();
  return layer;
}

}  // namespace

TEMPLATE_TEST_CASE("Each label has a classifier of its own, also in a subset", "[head]", float,
                   double) {
  using T = TestType;
  constexpr std::size_t labels = 9;
  for (const std::size_t width : {1u, 7u, 16u, 67u}) {
    const auto layer = load<T>(labels, width);
    for (const std::vector<std::size_t>& chosen :
         {std::vector<std::size_t>{}, std::vector<std::size_t>{4},
          std::vector<std::size_t>{8, 0, 3, 3}}) {
      std::vector<std::size_t> asked = chosen;
      if (chosen.empty()) {
        asked.resize(labels);
        std::iota(asked.begin(), asked.end(), 0u);
      }
      for (const std::size_t images : {1u, 3u}) {
        CAPTURE(width, chosen.size(), images);
        const std::size_t rows = images * asked.size();
        const std::vector<float> values = fill("x", rows * width, 0.0, 1.0, width);
        const PoisonedMatrix<T> x(rows, width, values);
        PoisonedMatrix<T> logits(images, asked.size());
        run_planned([&](const Context& context) {
          q2l::group_wise_linear<T, DefaultArch>(context, layer, chosen, x.view(), logits.view());
        });
        CHECK(differences(logits.view(),
                          GroupWiseLinearReference::apply<T>(
                              {rows, width, values}, {labels, width, weight_of(labels, width)},
                              {1, labels, bias_of(labels)}, asked)) == "");
        CHECK(logits.is_intact());
      }
    }
  }
}

TEST_CASE("Logits have the same bits on any number of threads and for any batch", "[head]") {
  const auto layer = load<float>(80, 515);
  const PoisonedMatrix<float> x(4 * 80, 515, fill("x", 4 * 80 * 515, 0.0, 1.0, 1));
  const std::vector<float> all =
      same_bits_on_any_workers<float>(4, 80, [&](const Context& context, Matrix<float> out) {
        q2l::group_wise_linear<float, DefaultArch>(context, layer, {}, x.view(), out);
      });
  check_same_bits_alone(all, 4, 1, 80,
                        [&](const Context& context, std::size_t n, Matrix<float> out) {
                          q2l::group_wise_linear<float, DefaultArch>(
                              context, layer, {}, x.view().row_range(n * 80, 80), out);
                        });
}

TEST_CASE("The group-wise linear head refuses operands that do not fit", "[head]") {
  const auto layer = load<float>(5, 3);
  std::vector<float> storage(100);
  const auto call = [&](std::vector<std::size_t> chosen, std::size_t rows, std::size_t columns,
                        std::size_t images, std::size_t labels) {
    return [=, &layer, &storage](const Context& context) {
      q2l::group_wise_linear<float, DefaultArch>(context, layer, chosen,
                                                 Matrix<const float>(storage.data(), rows, columns),
                                                 Matrix<float>(storage.data(), images, labels));
    };
  };
  check_bad_argument("group_wise_linear: columns of logits", call({}, 10, 3, 2, 4));
  check_bad_argument("group_wise_linear: columns of logits", call({1, 2}, 10, 3, 2, 5));
  check_bad_argument("group_wise_linear: rows of x", call({}, 9, 3, 2, 5));
  check_bad_argument("group_wise_linear: columns of x", call({}, 10, 4, 2, 5));
}
