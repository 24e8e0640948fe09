// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/core/aligned_buffer.hpp>
#include <query2label/kernels/matmul_kernel.hpp>
#include <query2label/kernels/matmul_panels_kernel.hpp>
#include <string>
#include <utility>
#include <vector>

#include "reference/linear_reference.hpp"
#include "support/comparator.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"

using namespace q2l::test;
using q2l::Activation;
using q2l::Matrix;
using q2l::simd::DefaultArch;

namespace {

template <class T>
using Layout = q2l::kernels::PanelLayout<T, DefaultArch>;

/// A right operand in packed form with everything around it poisoned.
template <class T>
class Packed {
 public:
  /// From the first `depth` columns and `columns` rows of `weight` [out, in].
  Packed(Matrix<const T> weight, std::size_t depth, std::size_t columns)
      : layout_{1, depth, columns}, storage_(1, layout_.size(), 3, 1) {
    q2l::kernels::pack_panels<T, DefaultArch>(
        layout_, q2l::kernels::PanelSource<T>{weight.data, 0, 1, weight.stride},
        storage_.view().data, 0, layout_.panels());
  }
  [[nodiscard]] q2l::kernels::PanelMatrix<T, DefaultArch> matrix() const {
    return {layout_, storage_.view().data};
  }

 private:
  Layout<T> layout_;
  PoisonedMatrix<T> storage_;
};

template <class T>
void multiply(Matrix<const T> left, const Packed<T>& right,
              const q2l::kernels::Epilogue<T>& epilogue, Matrix<T> out) {
  q2l::kernels::matmul_block<T, DefaultArch>(
      q2l::kernels::StridedRows<T>{left.data, left.stride}, 0, left.rows, right.matrix(), 0,
      right.matrix().layout.panels(), epilogue, out.data, out.stride);
}

/// The first `rows` rows and `columns` columns.
Estimate corner(const Estimate& all, std::size_t rows, std::size_t columns) {
  Estimate out(rows, columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      out.value[out.at(r, c)] = all.value[all.at(r, c)];
      out.error[out.at(r, c)] = all.error[all.at(r, c)];
    }
  }
  return out;
}

/// The operands of one product with `depth` summed elements, and its result in double.
template <class T>
struct Problem {
  std::size_t rows, columns, depth;
  std::vector<float> left_values = fill("left", rows* depth, 0.0, 1.0, 1);
  std::vector<float> weight_values = fill("weight", columns* depth, 0.0, 1.0, 2);
  std::vector<float> bias_values = fill("bias", columns, 0.0, 1.0, 3);
  std::vector<float> residual_values = fill("residual", rows* columns, 0.0, 1.0, 4);
  PoisonedMatrix<T> left{rows, depth, left_values};
  PoisonedMatrix<T> weight{columns, depth, weight_values};
  PoisonedMatrix<T> residual{rows, columns, residual_values};

  [[nodiscard]] Estimate expected(bool bias, bool with_residual, Activation activation) const {
    return LinearReference::apply<T>(
        {rows, depth, left_values}, {columns, depth, weight_values},
        bias ? Estimate(1, columns, bias_values) : Estimate(),
        with_residual ? Estimate(rows, columns, residual_values) : Estimate(), activation);
  }

  /// The bias as a packed layer holds it: with zeros up to whole vectors.
  [[nodiscard]] std::vector<T> padded_bias() const {
    std::vector<T> out(bias_values.begin(), bias_values.end());
    out.resize(Layout<T>{1, depth, columns}.padded_columns());
    return out;
  }
};

const Activation product_activations[] = {Activation::identity(), Activation::relu(),
                                          Activation::leaky_relu(0.01), Activation::gelu(),
                                          Activation::quick_gelu()};

}  // namespace

TEMPLATE_TEST_CASE("Products of all small sizes are right and stay inside their result",
                   "[kernels]", float, double) {
  using T = TestType;
  constexpr std::size_t most_rows = 13, most_columns = 67;
  for (std::size_t depth = 1; depth <= 67; ++depth) {
    const Problem<T> problem{most_rows, most_columns, depth};
    const Estimate all = problem.expected(false, false, Activation::identity());
    for (std::size_t columns = 1; columns <= most_columns; ++columns) {
      const Packed<T> right(problem.weight.view(), depth, columns);
      for (std::size_t rows = 1; rows <= most_rows; ++rows) {
        PoisonedMatrix<T> out(rows, columns);
        multiply<T>(problem.left.view().row_range(0, rows), right, {}, out.view());
        const std::string wrong = differences(out.view(), corner(all, rows, columns));
        if (wrong.empty() && out.is_intact()) continue;
        CAPTURE(rows, columns, depth);
        CHECK(wrong == "");
        CHECK(out.is_intact());
      }
    }
  }
}

TEMPLATE_TEST_CASE("Products whose depth crosses the borders of chunks are right", "[kernels]",
                   float, double) {
  using T = TestType;
  for (const std::size_t depth : {511u, 512u, 513u, 1023u, 1024u, 1025u, 2049u}) {
    const Problem<T> problem{7, 37, depth};
    const Packed<T> right(problem.weight.view(), depth, 37);
    const std::vector<T> bias = problem.padded_bias();
    for (const Activation& activation : product_activations) {
      CAPTURE(depth, static_cast<int>(activation.kind));
      PoisonedMatrix<T> out(7, 37);
      const Matrix<const T> residual = problem.residual.view();
      multiply<T>(problem.left.view(), right,
                  {bias.data(), residual.data, residual.stride, activation}, out.view());
      CHECK(differences(out.view(), problem.expected(true, true, activation)) == "");
      CHECK(out.is_intact());
    }
  }
}

TEMPLATE_TEST_CASE("A product adds bias and residual and applies each activation", "[kernels]",
                   float, double) {
  using T = TestType;
  for (const std::size_t columns : {1u, 8u, 13u, 16u, 29u, 67u}) {
    const Problem<T> problem{8, columns, 19};
    const Packed<T> right(problem.weight.view(), problem.depth, columns);
    const std::vector<T> bias = problem.padded_bias();
    for (const Activation& activation : product_activations) {
      for (const bool with_bias : {false, true}) {
        for (const bool with_residual : {false, true}) {
          CAPTURE(columns, static_cast<int>(activation.kind), with_bias, with_residual);
          const Matrix<const T> residual = problem.residual.view();
          PoisonedMatrix<T> out(8, columns);
          multiply<T>(problem.left.view(), right,
                      {with_bias ? bias.data() : nullptr, with_residual ? residual.data : nullptr,
                       residual.stride, activation},
                      out.view());
          CHECK(differences(out.view(), problem.expected(with_bias, with_residual, activation)) ==
                "");
          CHECK(out.is_intact());
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("A product may be added to its residual in place", "[kernels]", float, double) {
  using T = TestType;
  for (const std::size_t depth : {5u, 1025u}) {
    const Problem<T> problem{13, 43, depth};
    const Packed<T> right(problem.weight.view(), depth, 43);
    PoisonedMatrix<T> out(13, 43, problem.residual_values);
    multiply<T>(problem.left.view(), right, {nullptr, out.view().data, out.view().stride, {}},
                out.view());
    CHECK(differences(out.view(), problem.expected(false, true, Activation::identity())) == "");
    CHECK(out.is_intact());
  }
}

TEMPLATE_TEST_CASE("Parts of a product have the bits they have in the whole", "[kernels]", float,
                   double) {
  using T = TestType;
  const Problem<T> problem{29, 147, 1100};
  const Packed<T> right(problem.weight.view(), problem.depth, problem.columns);
  const std::size_t panels = right.matrix().layout.panels();
  const std::vector<T> bias = problem.padded_bias();
  const q2l::kernels::Epilogue<T> epilogue{bias.data(), nullptr, 0, Activation::gelu()};
  const Matrix<const T> left = problem.left.view();
  PoisonedMatrix<T> whole(29, 147);
  multiply<T>(left, right, epilogue, whole.view());

  PoisonedMatrix<T> parts(29, 147);
  for (std::size_t row = 0; row < 29; row += 5) {
    for (std::size_t p = 0; p < panels; p += 2) {
      q2l::kernels::matmul_block<T, DefaultArch>(
          q2l::kernels::StridedRows<T>{left.data, left.stride}, row,
          std::min<std::size_t>(row + 5, 29), right.matrix(), p, std::min(p + 2, panels), epilogue,
          parts.view().row(row) + right.matrix().layout.first_column(p), parts.view().stride);
    }
  }
  CHECK(same_bits(parts.values(), whole.values()));
  CHECK(parts.is_intact());
}

TEMPLATE_TEST_CASE("Going panel by panel gives the bits of going tile by tile", "[kernels]", float,
                   double) {
  using T = TestType;
  struct TapRows {  // taps side by side in each row
    Matrix<const T> rows;
    std::size_t depth;
    void pointers(std::size_t first, std::size_t count, std::size_t first_tap, std::size_t taps,
                  const T** out) const {
      for (std::size_t t = 0; t < taps; ++t) {
        for (std::size_t r = 0; r < count; ++r) {
          out[t * count + r] = rows.row(first + r) + (first_tap + t) * depth;
        }
      }
    }
  };
  // Rows around a block of them, columns around a group of panels, depth in one chunk and in more.
  constexpr std::size_t block = q2l::kernels::left_block_rows;
  for (const std::size_t rows : {std::size_t{1}, block, block + 1, 2 * block + 13}) {
    for (const std::size_t columns : {37u, 1061u}) {
      for (const auto& [taps, depth] :
           {std::pair{1u, 40u}, std::pair{1u, 300u}, std::pair{3u, 50u}}) {
        CAPTURE(rows, columns, taps, depth);
        const Problem<T> problem{rows, columns, taps * depth};
        const Layout<T> layout{taps, depth, columns};
        q2l::AlignedBuffer<T> panels(layout.size());
        q2l::kernels::pack_panels<T, DefaultArch>(
            layout,
            q2l::kernels::PanelSource<T>{problem.weight.view().data, depth, 1,
                                         problem.weight.view().stride},
            panels.data(), 0, layout.panels());
        const q2l::kernels::PanelMatrix<T, DefaultArch> right{layout, panels.data()};
        const std::vector<T> bias = problem.padded_bias();
        const Matrix<const T> residual = problem.residual.view();
        const q2l::kernels::Epilogue<T> epilogue{bias.data(), residual.data, residual.stride,
                                                 Activation::gelu()};
        const TapRows source{problem.left.view(), depth};
        PoisonedMatrix<T> tiles(rows, columns);
        q2l::kernels::matmul_block<T, DefaultArch>(source, 0, rows, right, 0, layout.panels(),
                                                   epilogue, tiles.view().data, tiles.view().stride,
                                                   panels.data());
        q2l::AlignedBuffer<T> scratch(q2l::kernels::left_block_size<T>);
        for (T* const copies : {scratch.data(), static_cast<T*>(nullptr)}) {
          PoisonedMatrix<T> by_panel(rows, columns);
          q2l::kernels::matmul_panels<T, DefaultArch>(
              source, 0, rows, right, 0, layout.panels(), epilogue, by_panel.view().data,
              by_panel.view().stride, copies, panels.data());
          CHECK(same_bits(by_panel.values(), tiles.values()));
          CHECK(by_panel.is_intact());
        }
      }
    }
  }
}

TEST_CASE("Products do not depend on where their operands begin", "[kernels]") {
  const Problem<float> problem{7, 19, 23};
  const Packed<float> right(problem.weight.view(), 23, 19);
  PoisonedMatrix<float> aligned(7, 19, 13, 0);
  multiply<float>(problem.left.view(), right, {}, aligned.view());
  for (std::size_t misalignment = 0; misalignment < 16; ++misalignment) {
    const PoisonedMatrix<float> left(7, 23, problem.left_values, 5, misalignment);
    PoisonedMatrix<float> out(7, 19, 2, 15 - misalignment);
    multiply<float>(left.view(), right, {}, out.view());
    CHECK(same_bits(out.values(), aligned.values()));
  }
}

TEST_CASE("Depth is cut into chunks that follow each other without gap or overlap", "[kernels]") {
  for (const std::size_t taps : {1u, 2u, 9u, 49u}) {
    for (const std::size_t depth : {1u, 7u, 64u, 1023u, 1024u, 1025u, 2048u, 2049u, 5000u}) {
      CAPTURE(taps, depth);
      std::size_t next = 0;  // tap * depth + k
      bool ended = false;
      q2l::kernels::for_each_depth_chunk<float>(
          taps, depth, [&](const q2l::kernels::DepthChunk& chunk) {
            CHECK(chunk.first_tap * depth + chunk.first_depth == next);
            CHECK(chunk.is_first == (next == 0));
            CHECK(chunk.taps * chunk.depth <= q2l::kernels::chunk_depth<float>);
            CHECK((chunk.taps == 1 || chunk.depth == depth));
            CHECK_FALSE(ended);
            next += chunk.taps * chunk.depth;
            ended = chunk.is_last;
          });
      CHECK(next == taps * depth);
      CHECK(ended);
    }
  }
}
