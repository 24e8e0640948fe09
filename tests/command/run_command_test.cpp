// SPDX-License-Identifier: MIT
// What `q2l tag` decides with a model: which labels are tags, and whether a model is the same.
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "q2l/run_record.hpp"
#include "q2l/tag_command.hpp"

using q2l::RankedLabel;
using q2l::command::TagOptions;

TEST_CASE("Tags are the labels above the model's thresholds, or what threshold and top-k ask for",
          "[command]") {
  const std::vector<float> scores = {0.5f, 0.9f, 0.2f, 0.7f};
  const std::vector<float> own = {0.4f, 0.95f, 0.1f, 0.8f};
  const auto labels = [&](std::optional<float> threshold, std::optional<std::size_t> best) {
    TagOptions options;
    options.threshold = threshold;
    options.best = best;
    std::vector<std::size_t> found;
    for (const RankedLabel& tag : q2l::command::detail::rank(scores, options, own)) {
      CHECK(tag.score == scores[tag.label]);
      found.push_back(tag.label);
    }
    return found;
  };
  using Labels = std::vector<std::size_t>;
  CHECK(labels({}, {}) == Labels{0, 2});
  CHECK(labels(0.5f, {}) == Labels{1, 3, 0});  // equal reaches it
  CHECK(labels({}, 3) == Labels{1, 3, 0});     // whatever the model's thresholds
  CHECK(labels(0.6f, 3) == Labels{1, 3});
  CHECK(labels(0.1f, 1) == Labels{1});
}

TEST_CASE("A large model is told from others by a part of every 32 KiB, a small one by all of it",
          "[command]") {
  const auto changed = [](std::vector<std::byte>& bytes, std::size_t at) {
    bytes[at] ^= std::byte{1};
    const std::uint32_t crc = q2l::command::detail::sample_crc32(bytes);
    bytes[at] ^= std::byte{1};
    return crc;
  };
  constexpr std::size_t kibi = 1024;
  std::vector<std::byte> large(17 * kibi * kibi);
  const std::uint32_t own = q2l::command::detail::sample_crc32(large);
  for (const std::size_t at : {std::size_t{0}, 2 * kibi - 1, 32 * kibi, 9 * kibi * kibi + 17,
                               16 * kibi * kibi, large.size() - 32 * kibi}) {
    CAPTURE(at);
    CHECK(changed(large, at) != own);
  }
  CHECK(changed(large, 0) != changed(large, 32 * kibi));
  CHECK(changed(large, 2 * kibi) == own);  // between two parts

  std::vector<std::byte> end(large.begin(), large.end() - 31 * kibi);  // ends within a part
  CHECK(changed(end, end.size() - 1) != q2l::command::detail::sample_crc32(end));

  std::vector<std::byte> small(40 * kibi);
  for (const std::size_t at : {3 * kibi, small.size() - 1})
    CHECK(changed(small, at) != q2l::command::detail::sample_crc32(small));
}
