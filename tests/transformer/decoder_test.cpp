// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <query2label/transformer/decoder.hpp>
#include <span>
#include <vector>

#include "reference/decoder_reference.hpp"
#include "support/error_of.hpp"
#include "support/recipe.hpp"
#include "support/run_op.hpp"

using namespace q2l::test;
using q2l::Context;
using q2l::Matrix;
using q2l::TransformerShape;
using q2l::WeightMap;
using q2l::ops::CrossAttentionForm;
using q2l::simd::DefaultArch;

namespace {

constexpr CrossAttentionForm forms[] = {CrossAttentionForm::project_memory,
                                        CrossAttentionForm::project_labels};

template <class T>
using Decoder = q2l::Decoder<T, DefaultArch>;

template <class T>
Decoder<T> load_decoder(const DecoderReference& reference, CrossAttentionForm form) {
  WeightMap weights;
  reference.add_to(weights);
  Decoder<T> decoder = Decoder<T>::load(weights, reference.shape, form);
  weights.finish();  // every tensor was taken
  return decoder;
}

TransformerShape decoder_shape(std::size_t layers, bool keep_first, bool keep_other,
                               bool pre_norm) {
  TransformerShape shape;
  shape.width = 24;
  shape.heads = 3;
  shape.feed_forward = 40;
  shape.decoder_layers = layers;
  shape.labels = 11;
  shape.keep_first_self_attention = keep_first;
  shape.keep_other_self_attention = keep_other;
  shape.pre_norm = pre_norm;
  return shape;
}

/// Tokens of several images with their position code.
struct Tokens {
  std::size_t images, tokens, width = 24;
  std::vector<float> memory = fill("memory", images* tokens* width, 0.0, 1.0, 1);
  std::vector<float> position = fill("position", tokens* width, 0.0, 1.0, 2);
};

/// Decodes `count` images from `first`; `maps` [count, layers, A, L, T] or null.
template <class T>
void decode(const Context& context, const Decoder<T>& decoder, const Tokens& in, std::size_t first,
            std::size_t count, std::span<const std::size_t> labels, Matrix<T> out, T* maps) {
  const PoisonedMatrix<T> memory(in.images * in.tokens, in.width, in.memory);
  const PoisonedMatrix<T> position(in.tokens, in.width, in.position);
  const q2l::Workspace::Frame frame(context.workspace);
  const auto prepared = q2l::ops::prepare_memory<T, DefaultArch>(
      context, decoder.form(), count, memory.view().row_range(first * in.tokens, count * in.tokens),
      position.view());
  decoder.decode(context, prepared, labels, out, maps);
}

/// The part of layer-wise reference maps that the decoder writes for image `n`, layer by layer.
Estimate maps_in_decoder_order(const std::vector<Estimate>& layers, std::size_t images) {
  const std::size_t rows = layers.front().rows / images;
  Estimate out(layers.size() * layers.front().rows, layers.front().columns);
  std::size_t at = 0;
  for (std::size_t n = 0; n < images; ++n) {
    for (const Estimate& layer : layers) {
      const Estimate own = layer.row_range(n * rows, rows);
      for (std::size_t i = 0; i < own.value.size(); ++i, ++at) {
        out.value[at] = own.value[i];
        out.error[at] = own.error[i];
      }
    }
  }
  return out;
}

}  // namespace

// In double, where the bound of several layers' rounding is still far below any mistake in wiring.
TEST_CASE("The decoder does what the reference implementation writes down, with every option",
          "[transformer]") {
  const Tokens in{2, 7};
  for (const TransformerShape& shape :
       {decoder_shape(1, false, false, false), decoder_shape(2, false, false, false),
        decoder_shape(2, true, false, false), decoder_shape(3, false, true, false),
        decoder_shape(2, true, true, false), decoder_shape(2, true, true, true)}) {
    const DecoderReference reference(shape);
    const auto expected = reference.apply<double>({in.images * in.tokens, in.width, in.memory},
                                                  {in.tokens, in.width, in.position}, in.images);
    for (const double error : expected.out.error) REQUIRE(error < 1e-4);
    for (const CrossAttentionForm form : forms) {
      CAPTURE(shape.decoder_layers, shape.keep_first_self_attention,
              shape.keep_other_self_attention, shape.pre_norm, static_cast<int>(form));
      const Decoder<double> decoder = load_decoder<double>(reference, form);
      CHECK(decoder.labels_interact() ==
            (shape.keep_first_self_attention ||
             (shape.keep_other_self_attention && shape.decoder_layers > 1)));
      PoisonedMatrix<double> out(in.images * shape.labels, in.width);
      PoisonedMatrix<double> maps(in.images * shape.decoder_layers * shape.heads * shape.labels,
                                  in.tokens, 0);
      run_planned([&](const Context& context) {
        decode<double>(context, decoder, in, 0, in.images, {}, out.view(), maps.view().data);
      });
      // The label-projecting form rounds up to three times as much (see cross_attention's test).
      const double wider = form == CrossAttentionForm::project_labels ? 3.0 : 1.0;
      CHECK(differences(out.view(), expected.out.widened(wider)) == "");
      CHECK(differences(maps.view(),
                        maps_in_decoder_order(expected.maps, in.images).widened(wider)) == "");
      CHECK(out.is_intact());
      CHECK(maps.is_intact());
    }
  }
}

TEST_CASE("A subset of the labels has the bits it has among all, in any order", "[transformer]") {
  const Tokens in{2, 9};
  const std::vector<std::size_t> subset = {7, 0, 10, 3, 3};
  for (const TransformerShape& shape :
       {decoder_shape(2, false, false, false), decoder_shape(2, true, true, true)}) {
    for (const CrossAttentionForm form : forms) {
      CAPTURE(shape.pre_norm, static_cast<int>(form));
      const Decoder<float> decoder = load_decoder<float>(DecoderReference(shape), form);
      const std::size_t map_groups = in.images * shape.decoder_layers * shape.heads;
      PoisonedMatrix<float> all(in.images * 11, 24), all_maps(map_groups * 11, 9, 0);
      PoisonedMatrix<float> some(in.images * 5, 24), some_maps(map_groups * 5, 9, 0);
      PoisonedMatrix<float> without_maps(in.images * 5, 24);
      run_planned([&](const Context& context) {
        decode<float>(context, decoder, in, 0, 2, {}, all.view(), all_maps.view().data);
        decode<float>(context, decoder, in, 0, 2, subset, some.view(), some_maps.view().data);
        decode<float>(context, decoder, in, 0, 2, subset, without_maps.view(), nullptr);
      });
      CHECK(same_bits(without_maps.values(), some.values()));
      CHECK(some_maps.is_intact());
      const auto check_rows = [&](Matrix<const float> from, Matrix<const float> to,
                                  std::size_t groups) {
        for (std::size_t g = 0; g < groups; ++g) {
          for (std::size_t i = 0; i < subset.size(); ++i) {
            const float* const a = from.row(g * 11 + subset[i]);
            const float* const b = to.row(g * 5 + i);
            CHECK(same_bits<float>({a, a + from.columns}, {b, b + to.columns}));
          }
        }
      };
      check_rows(all.view(), some.view(), in.images);
      check_rows(all_maps.view(), some_maps.view(), map_groups);
    }
  }
}

TEST_CASE("The decoder gives the same bits on any number of threads and for any batch",
          "[transformer]") {
  const Tokens in{4, 49};
  for (const CrossAttentionForm form : forms) {
    const Decoder<float> decoder =
        load_decoder<float>(DecoderReference(decoder_shape(2, true, false, false)), form);
    const std::vector<float> all =
        same_bits_on_any_workers<float>(4 * 11, 24, [&](const Context& context, Matrix<float> out) {
          decode<float>(context, decoder, in, 0, 4, {}, out, nullptr);
        });
    check_same_bits_alone(all, 4, 11, 24,
                          [&](const Context& context, std::size_t n, Matrix<float> out) {
                            decode<float>(context, decoder, in, n, 1, {}, out, nullptr);
                          });
  }
}

TEST_CASE("A decoder without layers is refused", "[transformer]") {
  q2l::WeightMap weights;
  q2l::TransformerShape shape = decoder_shape(1, false, false, false);
  shape.decoder_layers = 0;
  CHECK(q2l::test::error_of([&] {
          Decoder<float>::load(weights, shape, CrossAttentionForm::project_memory);
        }).code() == q2l::ErrorCode::bad_argument);
}

TEST_CASE("The decoder refuses an output of the wrong size", "[transformer]") {
  const Tokens in{1, 4};
  const Decoder<float> decoder = load_decoder<float>(
      DecoderReference(decoder_shape(1, false, false, false)), CrossAttentionForm::project_memory);
  std::vector<float> storage(1000);
  check_bad_argument("decode: rows of out", [&](const Context& context) {
    decode<float>(context, decoder, in, 0, 1, {}, {storage.data(), 10, 24}, nullptr);
  });
}
