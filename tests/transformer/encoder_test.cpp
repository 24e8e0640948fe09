// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/transformer/encoder.hpp>
#include <vector>

#include "reference/encoder_reference.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::TransformerShape;
using q2l::WeightMap;
using q2l::simd::DefaultArch;

namespace {

template <class T>
q2l::Encoder<T, DefaultArch> load_encoder(const EncoderReference& reference) {
  WeightMap weights;
  reference.add_to(weights);
  auto encoder = q2l::Encoder<T, DefaultArch>::load(weights, reference.shape);
  weights.finish();  // every tensor was taken
  return encoder;
}

TransformerShape encoder_shape(std::size_t layers, bool pre_norm) {
  TransformerShape shape;
  shape.width = 24;
  shape.heads = 3;
  shape.feed_forward = 40;
  shape.encoder_layers = layers;
  shape.pre_norm = pre_norm;
  return shape;
}

}  // namespace

// In double, where the bound of several layers' rounding is still far below any mistake in wiring.
TEST_CASE("The encoder does what the reference implementation writes down", "[transformer]") {
  const std::size_t images = 2, tokens = 7, width = 24;
  const std::vector<float> x = fill("x", images * tokens * width, 0.0, 1.0, 1);
  const std::vector<float> position_values = fill("position", tokens * width, 0.0, 1.0, 2);
  for (const bool pre_norm : {false, true}) {
    for (const std::size_t layers : {0u, 1u, 2u}) {
      CAPTURE(pre_norm, layers);
      const EncoderReference reference(encoder_shape(layers, pre_norm));
      const auto encoder = load_encoder<double>(reference);
      const PoisonedMatrix<double> position(tokens, width, position_values);
      PoisonedMatrix<double> out(images * tokens, width, x);
      run_planned([&](const Context& context) {
        q2l::encode<double, DefaultArch>(context, encoder, images, position.view(), out.view());
      });
      const Estimate expected = reference.apply<double>({images * tokens, width, x},
                                                        {tokens, width, position_values}, images);
      for (const double error : expected.error) REQUIRE(error < 1e-4);
      CHECK(differences(out.view(), expected) == "");
      CHECK(out.is_intact());
    }
  }
}

TEST_CASE("The encoder gives the same bits on any number of threads and for any batch",
          "[transformer]") {
  const std::size_t tokens = 60, width = 24;
  const auto encoder = load_encoder<float>(EncoderReference(encoder_shape(1, false)));
  const PoisonedMatrix<float> position(tokens, width,
                                       fill("position", tokens * width, 0.0, 1.0, 2));
  const std::vector<float> x = fill("x", 4 * tokens * width, 0.0, 1.0, 1);
  const auto run = [&](const Context& context, std::size_t first, std::size_t images,
                       Matrix<float> out) {
    if (!context.is_planning()) {
      for (std::size_t i = 0; i < images * tokens * width; ++i) {
        out.row(i / width)[i % width] = x[first * tokens * width + i];
      }
    }
    q2l::encode<float, DefaultArch>(context, encoder, images, position.view(), out);
  };
  const std::vector<float> all = same_bits_on_any_workers<float>(
      4 * tokens, width,
      [&](const Context& context, Matrix<float> out) { run(context, 0, 4, out); });
  check_same_bits_alone(
      all, 4, tokens, width,
      [&](const Context& context, std::size_t n, Matrix<float> out) { run(context, n, 1, out); });
}
