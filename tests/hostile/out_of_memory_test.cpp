// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/tensor.hpp"
#include "query2label/image/heat_map.hpp"
#include "query2label/model/session.hpp"
#include "query2label/tagger.hpp"
#include "support/allocation_watch.hpp"

using q2l::Tagger;
using q2l::test::AllocationFailure;

namespace {

const std::string out_of_memory_examples = std::string(Q2L_EXAMPLES_DIR) + "/data/";

/// What `work` returns although a request for memory fails, or nothing if it throws what it may (an
/// Error, unless there is no memory for that either); and whether one failed.
template <class Work>
auto result_without_memory(std::size_t request, bool lasts, const Work& work) {
  const AllocationFailure failure(request, lasts);
  std::optional<decltype(work())> result;
  try {
    result.emplace(work());
  } catch (const std::bad_alloc&) {
    if (!lasts) throw;
  } catch (const q2l::Error&) {
  }
  return std::pair(std::move(result), failure.happened());
}

}  // namespace

TEST_CASE("Whichever request for memory fails, loading and tagging end with an error or a result",
          "[hostile][T7]") {
  const q2l::Image picture = q2l::read_image(out_of_memory_examples + "scene1.jpg");
  const std::filesystem::path model = out_of_memory_examples + "demo.safetensors";
  const auto load = [&] { return Tagger::load(model, {.threads = 1}); };
  const Tagger tagger = load();
  const std::vector<std::vector<float>> expected = tagger.scores(std::span(&picture, 1));
  const std::vector<q2l::Tag> tags = tagger.tag(picture);
  const q2l::ImageView view{picture.rgb.data(), picture.width, picture.height};
  const q2l::AttentionMap last = tagger.explain(picture).maps.back();
  const std::vector<float>& map = last.values;
  const std::size_t rows = last.height, columns = last.width;
  const q2l::Image drawing = q2l::draw_heat_map(picture, map, rows, columns, "label", 0.5f);
  const std::size_t side = tagger.config().image_size;
  const std::vector<float> values(side * side * 3, 0.5f);
  const q2l::FeatureMap<const float> pixels(values.data(), 1, side, side, 3);
  q2l::Session session(tagger.model(), tagger.runner(), 1);
  const std::vector<float> logits = session.query(session.encode(pixels)).logits;
  // Some thousand requests: steps of a prime meet every kind of them.
  constexpr std::size_t step = 53;
  for (const bool lasts : {false, true}) {
    std::size_t errors = 0;
    for (std::size_t request = 1;; request += step) {
      const auto [loaded, failed] = result_without_memory(request, lasts, load);
      if (!failed) break;
      errors += loaded ? 0 : 1;
    }
    CHECK(errors > 10);
    const auto check = [&](const auto& work, const auto& answer) {
      for (std::size_t request = 1;; ++request) {
        const auto [result, failed] = result_without_memory(request, lasts, work);
        if (result) CHECK(*result == answer);
        if (!failed) break;
      }
    };
    check([&] { return tagger.scores(std::span(&picture, 1)); }, expected);
    check([&] { return tagger.tag(picture); }, tags);
    check([&] { return tagger.tag(view); }, tags);
    check([&] { return tagger.rank(expected.front()); }, tags);
    check([&] { return std::move(tagger.explain(picture).maps.back().values); }, map);
    check([&] { return session.query(session.encode(pixels)).logits; }, logits);
    check([&] { return q2l::draw_heat_map(picture, map, rows, columns, "label", 0.5f); }, drawing);
  }
  CHECK(tagger.scores(std::span(&picture, 1)) == expected);
}
