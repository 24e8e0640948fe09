// SPDX-License-Identifier: MIT
#include "q2l/tag_loop.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "q2l/read_pictures.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l::command;
using q2l::Error;
using q2l::ErrorCode;
using q2l::Image;
using q2l::test::content_of;
using q2l::test::TemporaryFolder;

namespace {

/// A run over made-up pictures: a picture's width is its number, scores follow from it.
struct Run {
  std::vector<std::string> paths;
  std::unordered_multiset<std::string> finished{};
  std::size_t batch = 2;
  std::size_t readers = 1;
  std::vector<std::size_t> batches{};  ///< sizes of the batches that were scored
  int stop_after = 1000;               ///< batches until a signal arrives
  std::vector<std::string> messages{};
  TagSummary summary{};

  std::string operator()() {
    const TemporaryFolder folder;
    const RecordLines lines(Format::jsonl, q2l::LabelSet({"cat", "dog"}), false);
    ResultOutput output(folder / "out", false);
    Progress progress(false, {});
    std::size_t at = 0;
    PictureSource source(
        [&]() -> std::optional<std::string> {
          if (at < paths.size() && paths[at] == "fail") throw Failure(ExitCode::usage, "list");
          return at < paths.size() ? std::optional(paths[at++]) : std::nullopt;
        },
        {});
    TagSteps steps{.read = read,
                   .explain = [this](std::span<const Image> images) { return explain(images); },
                   .illustrate = {},
                   .report = [this](const std::string& line) { messages.push_back(line); },
                   .stopped = [this] { return static_cast<int>(batches.size()) >= stop_after; },
                   .stop = [] {}};
    summary = TagLoop(steps, batch, readers, lines, output, progress).run(source, finished);
    output.finish();
    return content_of(folder / "out");
  }

 private:
  static ReadPicture read(const std::string& path) {
    if (path == "broken") throw Error(ErrorCode::bad_image, "broken");
    const int width = path == "memory" ? 1000 : path == "nan" ? 2000 : std::stoi(path);
    return ReadPicture::whole({width, 1, {}});
  }

  std::vector<q2l::Explanation> explain(std::span<const Image> images) {
    std::vector<q2l::Explanation> seen;
    for (const Image& image : images) {
      if (image.width == 1000) throw std::bad_alloc();
      if (image.width == 2000) throw Error(ErrorCode::non_finite_output, "not a number");
      const float score = static_cast<float>(image.width) / 16;
      seen.push_back({{score, 0.25f}, {}, {}});
      if (score >= 0.5f) seen.back().tags.push_back({"cat", score, 0});
    }
    batches.push_back(images.size());
    return seen;
  }
};

std::string tagged(int width) {
  const std::string score = shortest(static_cast<float>(width) / 16);
  return "{\"path\":\"" + std::to_string(width) + "\",\"width\":" + std::to_string(width) +
         ",\"height\":1,\"tags\":[" +
         (width >= 8 ? "{\"label\":\"cat\",\"score\":" + score + "}" : "") + "]}\n";
}

std::string failed(const std::string& path, const std::string& code, const std::string& message) {
  return "{\"path\":\"" + path + "\",\"error\":{\"code\":\"" + code + "\",\"message\":\"" +
         message + "\"}}\n";
}

}  // namespace

TEST_CASE("Records come in the order of the pictures, in batches", "[command]") {
  Run run{{"9", "3", "12", "8", "1"}};
  CHECK(run() == tagged(9) + tagged(3) + tagged(12) + tagged(8) + tagged(1));
  CHECK(run.batches == std::vector<std::size_t>{2, 2, 1});
  CHECK(run.summary.tagged == 5);
  CHECK(run.summary.failed == 0);
}

TEST_CASE("Records come in the order of the pictures from any number of readers", "[command]") {
  Run alone{{"9", "broken", "3", "12", "8", "1", "10"}};
  Run several = alone;
  several.batch = 4;
  several.readers = 3;
  CHECK(several() == alone());
  CHECK(several.batches == std::vector<std::size_t>{3, 3});
  CHECK(several.summary.failed == 1);
}

TEST_CASE("A picture that fails costs one record and none of its neighbours", "[command]") {
  Run run{{"9", "broken", "nan", "3", "memory", "12"}};
  run.batch = 3;
  CHECK(run() == tagged(9) + failed("broken", "BadImage", "broken") +
                     failed("nan", "NonFiniteOutput", "not a number") + tagged(3) +
                     failed("memory", "OutOfMemory", "no memory to tag the picture") + tagged(12));
  CHECK(run.summary.tagged == 3);
  CHECK(run.summary.failed == 3);
  CHECK(run.messages ==
        std::vector<std::string>{"broken: broken [BadImage]", "nan: not a number [NonFiniteOutput]",
                                 "memory: no memory to tag the picture [OutOfMemory]"});
}

TEST_CASE("Finished pictures are passed over and counted, at the end of the list too",
          "[command]") {
  Run run{{"9", "3", "12", "8"}, {"9", "8"}};
  CHECK(run() == tagged(3) + tagged(12));
  CHECK(run.summary.skipped == 2);
  Run nothing{{"9", "3"}, {"9", "3"}};
  CHECK(nothing().empty());
  CHECK(nothing.summary.skipped == 2);
}

TEST_CASE("A picture that is asked for twice has two records, if the run is resumed, too",
          "[command]") {
  Run run{{"9", "3", "9"}, {"9"}};
  CHECK(run() == tagged(3) + tagged(9));
  CHECK(run.summary.skipped == 1);
}

TEST_CASE("A list of paths that fails costs none of the pictures before", "[command]") {
  Run run{{"9", "3", "12", "fail"}};
  run.batch = 2;
  CHECK_THROWS_AS(run(), Failure);
  CHECK(run.batches == std::vector<std::size_t>{2, 1});
}

TEST_CASE("A run over broken pictures only still ends", "[command]") {
  Run run{std::vector<std::string>(600, "broken")};
  run();
  CHECK(run.summary.failed == 600);
}

TEST_CASE("When stopped, the batch at work is finished and no other begun", "[command]") {
  Run run{{"9", "3", "12", "8", "1"}};
  run.stop_after = 1;
  CHECK(run() == tagged(9) + tagged(3));
}

TEST_CASE("A failing output ends a run whose list of paths is still open", "[command]") {
  const RecordLines lines(Format::jsonl, q2l::LabelSet({"cat"}), false);
  ResultOutput output("/dev/full", false);
  Progress progress(false, {});
  std::atomic<bool> stopped{false};
  int given = 0;
  PictureSource source(
      [&]() -> std::optional<std::string> {
        if (given++ == 0) return "picture";
        while (!stopped) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return std::nullopt;
      },
      {});
  TagSteps steps{.read =
                     [](const std::string&) {
                       return ReadPicture::whole({1, 1, {0, 0, 0}});
                     },
                 .explain =
                     [](std::span<const Image>) {
                       return std::vector<q2l::Explanation>{{{0.5f}, {{"cat", 0.5f, 0}}, {}}};
                     },
                 .illustrate = {},
                 .report = [](const std::string&) {},
                 .stopped = [&] { return stopped.load(); },
                 .stop = [&] { stopped = true; }};
  TagLoop loop(steps, 1, 1, lines, output, progress);
  CHECK_THROWS_AS(loop.run(source, {}), Failure);
  CHECK(stopped);
}

TEST_CASE("A picture that waits at the model's size keeps that of its file", "[command]") {
  const Image photo{6, 2, std::vector<std::uint8_t>(6 * 2 * 3, 7)};
  const ReadPicture shrunk = ReadPicture::shrunk(photo, 4);
  CHECK(shrunk.image == Image{4, 4, std::vector<std::uint8_t>(4 * 4 * 3, 7)});
  CHECK(shrunk.width == 6);
  CHECK(shrunk.height == 2);
}

TEST_CASE("The progress line tells how far a run is", "[command]") {
  CHECK(Progress(false, 48).line(12, 0, 4) == "[######..................] 12/48, 3.0 a second");
  CHECK(Progress(false, 48).line(12, 0, 4, 8) == "[######..................] 12/48, 1.0 a second");
  CHECK(Progress(false, 0).line(0, 0, 0) == "[########################] 0/0");
  CHECK(Progress(false, {}).line(12, 2, 8) == "12 pictures, 1.5 a second, 2 failed");
}
