// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <query2label/core/layer_observer.hpp>
#include <query2label/ops/conv2d.hpp>
#include <query2label/ops/feed_forward.hpp>
#include <query2label/ops/layer_norm.hpp>
#include <query2label/ops/left_operand.hpp>
#include <query2label/ops/linear.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/comparator.hpp"
#include "support/counting_observer.hpp"
#include "support/poisoned_buffer.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

// Layers that write the left operand of the next have the bits of layers with a matrix or a map
// between them.

using namespace q2l::test;
using q2l::Activation;
using q2l::Context;
using q2l::Matrix;
using q2l::Precision;
using q2l::ProductSettings;
using q2l::simd::DefaultArch;

namespace {

constexpr Precision precisions[] = {Precision::f32, Precision::bf16, Precision::int8};

ProductSettings operand_settings(Precision precision) {
  return {"layer", precision, {1.0f / 32, 100}};
}

q2l::ops::Linear<float, DefaultArch> make_linear(std::size_t in, std::size_t out,
                                                 Precision precision) {
  const float magnitude = 1.0f / std::sqrt(static_cast<float>(in));
  return {in,
          out,
          fill("weight", in * out, 0.0, magnitude, in),
          fill("bias", out, 0.0, 1.0, out),
          {},
          operand_settings(precision)};
}

q2l::ops::Conv2d<float, DefaultArch> make_conv2d(const q2l::ops::Conv2dShape& shape,
                                                 Precision precision) {
  const std::size_t filter = shape.in_channels * shape.kernel * shape.kernel;
  const float magnitude = 1.0f / std::sqrt(static_cast<float>(filter));
  return {shape,
          fill("kernel", shape.out_channels * filter, 0.0, magnitude, filter),
          fill("bias", shape.out_channels, 0.0, 1.0, shape.out_channels),
          {},
          {},
          operand_settings(precision)};
}

}  // namespace

TEST_CASE("A linear layer writes the left operand of the next", "[ops]") {
  struct Sizes {
    std::size_t rows, in, hidden, out;
  };
  for (const Sizes& size : {Sizes{1, 4, 4, 1},
                            {7, 20, 36, 9},
                            {130, 64, 300, 40},
                            {37, 8, 600, 17},
                            {600, 12, 72, 8}}) {
    const std::vector<float> values = fill("in", size.rows * size.in, 0.0, 2.0, size.rows);
    const PoisonedMatrix<float> x(size.rows, size.in, values);
    for (const Precision first : precisions) {
      for (const Precision second : precisions) {
        for (const Activation& activation : {Activation::relu(), Activation::gelu()}) {
          CAPTURE(size.rows, size.in, size.hidden, to_string(first), to_string(second));
          const auto linear1 = make_linear(size.in, size.hidden, first);
          const auto linear2 = make_linear(size.hidden, size.out, second);
          PoisonedMatrix<float> hidden(size.rows, size.hidden), expected(size.rows, size.out);
          run_planned([&](const Context& context) {
            q2l::ops::linear<float, DefaultArch>(context, linear1, x.view(), hidden.view(),
                                                 {.activation = activation});
            q2l::ops::linear<float, DefaultArch>(context, linear2, hidden.view(), expected.view());
          });
          for (const std::size_t workers : {1u, 2u, 8u}) {
            PoisonedMatrix<float> out(size.rows, size.out);
            run_planned(workers, [&](const Context& context) {
              const q2l::ops::LeftOperand<float, DefaultArch> operand(context, linear2.weights,
                                                                      size.rows);
              q2l::ops::linear<float, DefaultArch>(context, linear1, x.view(), operand,
                                                   {.activation = activation});
              q2l::ops::linear<float, DefaultArch>(context, linear2, operand, out.view());
            });
            CHECK(same_bits(out.values(), expected.values()));
            CHECK(out.is_intact());
          }
        }
      }
    }
  }
}

TEST_CASE("A convolution writes the left operand of the next", "[ops]") {
  struct Pair {
    q2l::ops::Conv2dShape first, second;
  };
  for (const Pair& shape : {Pair{{8, 20, 1, 1, 0}, {20, 12, 3, 1, 1}},
                            {{8, 20, 1, 1, 0}, {20, 33, 3, 2, 1}},
                            {{20, 36, 3, 2, 1}, {36, 16, 1, 1, 0}},
                            {{16, 264, 3, 1, 1}, {264, 8, 1, 1, 0}},
                            {{16, 20, 3, 1, 1}, {20, 8, 1, 2, 0}},
                            {{8, 4, 1, 1, 0}, {4, 8, 3, 2, 1}}}) {
    const std::size_t batch = 2, height = 9, width = 19;
    const std::vector<float> values =
        fill("in", batch * height * width * shape.first.in_channels, 0.0, 2.0, 1);
    const PoisonedMatrix<float> x(batch * height * width, shape.first.in_channels, values);
    const std::size_t mid_height = shape.first.output(height);
    const std::size_t mid_width = shape.first.output(width);
    const std::size_t out_height = shape.second.output(mid_height);
    const std::size_t out_width = shape.second.output(mid_width);
    const std::size_t pixels = batch * out_height * out_width;
    const std::size_t channels = shape.second.out_channels;
    for (const Precision first : precisions) {
      for (const Precision second : precisions) {
        CAPTURE(shape.first.kernel, shape.second.kernel, shape.second.stride, to_string(first),
                to_string(second));
        const auto conv1 = make_conv2d(shape.first, first);
        const auto conv2 = make_conv2d(shape.second, second);
        PoisonedMatrix<float> mid(batch * mid_height * mid_width, shape.first.out_channels);
        PoisonedMatrix<float> expected(pixels, channels);
        run_planned([&](const Context& context) {
          const auto map = mid.map(batch, mid_height, mid_width);
          q2l::ops::conv2d<float, DefaultArch>(context, conv1, x.map(batch, height, width), map,
                                               {.activation = Activation::relu()});
          q2l::ops::conv2d<float, DefaultArch>(context, conv2, map,
                                               expected.map(batch, out_height, out_width));
        });
        for (const std::size_t workers : {1u, 3u}) {
          PoisonedMatrix<float> out(pixels, channels);
          run_planned(workers, [&](const Context& context) {
            const auto operand = q2l::ops::conv2d_input<float, DefaultArch>(
                context, conv2, {nullptr, batch, mid_height, mid_width, shape.first.out_channels});
            q2l::ops::conv2d<float, DefaultArch>(context, conv1, x.map(batch, height, width),
                                                 operand, {.activation = Activation::relu()});
            q2l::ops::conv2d<float, DefaultArch>(context, conv2, operand,
                                                 out.map(batch, out_height, out_width));
          });
          CHECK(same_bits(out.values(), expected.values()));
          CHECK(out.is_intact());
        }
      }
    }
  }
}

TEST_CASE(
    "A norm writes the left operand of a feed-forward network, by blocks of rows if it is wide",
    "[ops]") {
  const std::size_t rows = 67, width = 36;
  const q2l::ops::LayerNorm<float> norm(fill("weight", width, 1.0, 0.5, 1),
                                        fill("bias", width, 0.0, 0.5, 2));
  const std::vector<float> values = fill("x", rows * width, 0.0, 3.0, 3);
  for (const Precision precision : precisions) {
    for (const std::size_t features : {std::size_t{80}, std::size_t{1} << 15}) {
      const q2l::ops::FeedForward<float, DefaultArch> layer{make_linear(width, features, precision),
                                                            make_linear(features, width, precision),
                                                            Activation::gelu()};
      PoisonedMatrix<float> normed(rows, width), hidden(rows, features),
          expected(rows, width, values);
      run_planned([&](const Context& context) {
        q2l::ops::layer_norm<float, DefaultArch>(context, norm, expected.view(), normed.view());
      });
      run_planned([&](const Context& context) {
        q2l::ops::linear<float, DefaultArch>(context, layer.linear1, normed.view(), hidden.view(),
                                             {.activation = layer.activation});
      });
      run_planned([&](const Context& context) {
        q2l::ops::linear<float, DefaultArch>(context, layer.linear2, hidden.view(), expected.view(),
                                             {.residual = expected.view()});
      });
      for (const std::size_t workers : {1u, 2u, 8u}) {
        PoisonedMatrix<float> x(rows, width, values), y(rows, width, values);
        run_planned(workers, [&](const Context& context) {
          q2l::ops::norm_feed_forward<float, DefaultArch>(context, norm, layer, x.view());
        });
        run_planned(workers, [&](const Context& context) {
          q2l::ops::feed_forward<float, DefaultArch>(context, layer, normed.view(), y.view(),
                                                     {.residual = y.view()});
        });
        CAPTURE(to_string(precision), features, workers);
        CHECK(same_bits(x.values(), expected.values()));
        CHECK(same_bits(y.values(), expected.values()));
        CHECK(x.is_intact());
        CHECK(y.is_intact());
      }
    }
  }
}

TEST_CASE("An observer sees values between layers, not what they become", "[ops]") {
  const auto linear1 = make_linear(12, 20, Precision::int8);
  const auto linear2 = make_linear(20, 8, Precision::int8);
  const PoisonedMatrix<float> x(5, 12, fill("in", 5 * 12, 0.0, 2.0, 1));
  PoisonedMatrix<float> observed(5, 8), unobserved(5, 8);
  CountingObserver observer;
  for (q2l::LayerObserver* const shown :
       {static_cast<q2l::LayerObserver*>(nullptr), static_cast<q2l::LayerObserver*>(&observer)}) {
    run_planned([&](Context context) {
      context.observer = shown;
      const q2l::ops::LeftOperand<float, DefaultArch> hidden(context, linear2.weights, 5);
      CHECK(hidden.is_narrow() == (shown == nullptr));
      q2l::ops::linear<float, DefaultArch>(context, linear1, x.view(), hidden);
      q2l::ops::linear<float, DefaultArch>(context, linear2, hidden,
                                           shown ? observed.view() : unobserved.view());
    });
  }
  CHECK(observer.layers == 2);
  CHECK(same_bits(observed.values(), unobserved.values()));
}

TEST_CASE("A layer refuses the left operand of another", "[ops]") {
  const std::size_t rows = 5, width = 36;
  const auto linear = [&](Precision precision, const q2l::Quantization& input) {
    return q2l::ops::Linear<float, DefaultArch>{width, 7,  std::vector<float>(width * 7),
                                                {},    {}, {"", precision, input}};
  };
  const q2l::Quantization input{1.0f / 32, 100};
  const auto maker = linear(Precision::int8, input);
  std::vector<float> out(rows * 7, 3.0f);
  const auto read_by = [&](const q2l::ops::Linear<float, DefaultArch>& reader) {
    return [&](const Context& context) {
      const q2l::ops::LeftOperand<float, DefaultArch> operand(context, maker.weights, rows);
      q2l::ops::linear<float, DefaultArch>(context, reader, operand,
                                           Matrix<float>(out.data(), rows, 7));
    };
  };
  check_bad_argument("matmul", read_by(linear(Precision::f32, {})));
  check_bad_argument("matmul", read_by(linear(Precision::bf16, {})));
  check_bad_argument("matmul", read_by(linear(Precision::int8, {1.0f / 16, 100})));
  check_bad_argument("matmul", read_by(linear(Precision::int8, {1.0f / 32, 99})));
  CHECK_NOTHROW(run_planned(read_by(linear(Precision::int8, input))));

  const auto conv_by = [&](const q2l::ops::Conv2dShape& shape, Precision precision,
                           const q2l::ops::LeftOperandForm& form) {
    return [=, reader = make_conv2d(shape, precision)](const Context& context) {
      const q2l::FeatureMap<const float> size(nullptr, 1, 9, 5, shape.in_channels);
      const q2l::ops::LeftOperand<float, DefaultArch> operand(context, Precision::int8, input, size,
                                                              form);
      std::vector<float> results(9 * 5 * shape.out_channels);
      q2l::ops::conv2d<float, DefaultArch>(
          context, reader, operand,
          q2l::FeatureMap<float>(results.data(), 1, shape.output(9), shape.output(5),
                                 shape.out_channels));
    };
  };
  const auto form_of = [](const q2l::ops::Conv2dShape& shape) {
    return make_conv2d(shape, Precision::int8).input_form();
  };
  const q2l::ops::Conv2dShape three{20, 8, 3, 1, 1}, pointwise{20, 8, 1, 1, 0};
  check_bad_argument("conv2d", conv_by(three, Precision::f32, form_of(three)));  // by Winograd
  check_bad_argument("conv2d", conv_by(pointwise, Precision::f32, form_of(pointwise)));
  check_bad_argument("conv2d", conv_by(three, Precision::bf16, form_of(three)));
  check_bad_argument("conv2d", conv_by(three, Precision::int8, form_of(pointwise)));
  check_bad_argument("conv2d", conv_by({20, 8, 1, 2, 0}, Precision::int8, form_of(pointwise)));
  check_bad_argument("conv2d", conv_by({4, 8, 3, 1, 1}, Precision::int8, {}));
  CHECK_NOTHROW(run_planned(conv_by(three, Precision::int8, form_of(three))));
}

TEST_CASE("A context of no threads needs the memory of one", "[ops]") {
  const auto linear1 = make_linear(12, 20, Precision::int8);
  const auto linear2 = make_linear(20, 8, Precision::int8);
  const q2l::ops::LayerNorm<float> norm(std::vector<float>(20), std::vector<float>(20));
  std::vector<float> x(5 * 20);
  const auto peak = [&](std::size_t workers, const auto& write) {
    q2l::SerialRunner runner;
    q2l::Workspace plan = q2l::Workspace::planning();
    const Context context{runner, workers, plan};
    write(context, q2l::ops::LeftOperand<float, DefaultArch>(context, linear2.weights, 5));
    return plan.peak();
  };
  const auto by_linear = [&](const Context& context, const auto& hidden) {
    q2l::ops::linear<float, DefaultArch>(context, linear1, Matrix<const float>(x.data(), 5, 12),
                                         hidden);
  };
  const auto by_norm = [&](const Context& context, const auto& hidden) {
    q2l::ops::layer_norm<float, DefaultArch>(context, norm, {x.data(), 5, 20}, hidden);
  };
  CHECK(peak(0, by_linear) == peak(1, by_linear));
  CHECK(peak(0, by_norm) == peak(1, by_norm));
}
