// SPDX-License-Identifier: MIT
#include "query2label/labels/label_set.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "query2label/core/crc32.hpp"
#include "support/error_of.hpp"

using q2l::ErrorCode;
using q2l::LabelSet;
using q2l::test::error_of;

namespace {

std::uint32_t checksum(const LabelSet& labels) {
  std::string lines;
  for (const std::string& name : labels) lines += (lines.empty() ? "" : "\n") + name;
  return q2l::crc32(std::as_bytes(std::span(lines)));
}

}  // namespace

TEST_CASE("The built-in label sets have the data sets' sizes and order", "[labels]") {
  const LabelSet coco = LabelSet::coco80();
  REQUIRE(coco.size() == 80);
  CHECK(coco[0] == "person");
  CHECK(coco[9] == "traffic light");
  CHECK(coco[56] == "chair");
  CHECK(coco[79] == "toothbrush");
  // All names, each on a line, as torchvision lists them (models/_meta.py, less what it pads with).
  CHECK(checksum(coco) == 0x29E2BBA5u);

  const LabelSet voc = LabelSet::voc20();
  REQUIRE(voc.size() == 20);
  CHECK(voc[14] == "person");
  CHECK(checksum(voc) == 0x189D8C50u);

  const LabelSet nus = LabelSet::nus81();
  REQUIRE(nus.size() == 81);
  CHECK(nus[0] == "airport");
  CHECK(nus[42] == "person");
  CHECK(std::is_sorted(nus.begin(), nus.end()));
}

TEST_CASE("A head's size suggests the data set, else labels are numbered", "[labels]") {
  CHECK(LabelSet::guess(80) == LabelSet::coco80());
  CHECK(LabelSet::guess(20) == LabelSet::voc20());
  CHECK(LabelSet::guess(81) == LabelSet::nus81());
  const LabelSet five = LabelSet::guess(5);
  CHECK(five.names() ==
        std::vector<std::string>{"label 0", "label 1", "label 2", "label 3", "label 4"});
  CHECK(LabelSet::guess(0).empty());
}

TEST_CASE("Labels are found by their exact name", "[labels]") {
  const LabelSet coco = LabelSet::coco80();
  CHECK(coco.find("dog") == 16u);
  CHECK_FALSE(coco.find("Dog").has_value());
  CHECK(coco.index_of("hair drier") == 78);
  const auto error = error_of([&] { (void)coco.index_of("unicorn"); });
  CHECK(error.code() == ErrorCode::bad_argument);
  CHECK(error.place().subject == "unicorn");
}

TEST_CASE("A repeated or empty label is refused with its place", "[labels]") {
  const auto repeated = error_of([] { LabelSet({"cat", "dog", "cat"}); });
  CHECK(repeated.code() == ErrorCode::duplicate_name);
  CHECK(repeated.place().subject == "label 2");
  CHECK(repeated.detail() == "the label 'cat' already stands at label 0");
  const auto empty = error_of([] { LabelSet({"cat", ""}); });
  CHECK(empty.code() == ErrorCode::bad_labels);
  CHECK(empty.place().subject == "label 1");
  for (const char* name : {"  ", "\x1b[31m", "a\nb", "\xE2\x80\xAE", "\xff"}) {
    const auto error = error_of([&] { LabelSet({"cat", name}); });
    CHECK(error.code() == ErrorCode::bad_labels);
    CHECK(error.place().subject == "label 1");
  }
}

TEST_CASE("A label file that does not fit the head says both counts", "[labels]") {
  LabelSet::numbered(80).require_size(80, "labels.txt");
  const auto error = error_of([] { LabelSet::numbered(79).require_size(80, "labels.txt"); });
  CHECK(error.code() == ErrorCode::label_count_mismatch);
  CHECK(error.detail() == "labels.txt has 79, head has 80");
}
