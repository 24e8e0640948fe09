// SPDX-License-Identifier: MIT
#include "q2l/eval_command.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_folder.hpp"

#ifdef Q2L_COMMAND
#include "command/program.hpp"
#endif

using q2l::test::content_of;
using q2l::test::TemporaryFolder;

namespace {

/// What `call` prints to standard output.
template <class Call>
std::string printed_by(Call&& call) {
  const TemporaryFolder folder;
  std::fflush(stdout);
  const int before = ::dup(STDOUT_FILENO);
  const int file = ::open(folder.write("out", "").c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE((before >= 0 && file >= 0));
  ::dup2(file, STDOUT_FILENO);
  call();
  std::fflush(stdout);
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  ::close(file);
  return content_of(folder / "out");
}

const std::string eval_heading = "                         CP     CR    CF1     OP     OR    OF1\n";

}  // namespace

TEST_CASE("The report of an evaluation has the figures that a hand gets", "[command]") {
  const q2l::LabelSet labels({"cat", "dog", "tv\\set", "cow"});
  const std::vector<float> scores = {0.9f, 0.8f,  0.7f,  0.6f,  //
                                     0.2f, 0.3f,  0.15f, 0.1f,  //
                                     0.1f, 0.35f, 0.5f,  0.05f};
  const std::vector<std::uint8_t> truth = {1, 0, 1,
                                           0,  //
                                           1, 1, 0,
                                           0,  //
                                           0, 1, q2l::unjudged,
                                           0};
  // Hits of chosen, and of positives, for cat, dog, tv and cow:
  //   from 0.25    1/1 2/3 1/1 0/1   1/2 2/2 1/1 none
  //   best 3       2/3 2/3 1/2 0/0   2/2 2/2 1/1 none
  //   both         1/1 2/3 1/1 0/0   1/2 2/2 1/1 none
  // CP takes all labels and CR those with positives. dog's positives come second and third of its
  // scores: 2/3 is the best precision at either.
  CHECK(printed_by([&] {
          q2l::command::detail::print_report({scores, truth, labels.size()}, labels, 0.25f);
        }) == "pictures 3\nmAP 88.89 over 3 of 4 labels\n\n" + eval_heading +
                  "score >= 0.25         66.67  83.33  74.07  66.67  80.00  72.73\n"
                  "best 3                45.83 100.00  62.86  62.50 100.00  76.92\n"
                  "best 3, >= 0.25       66.67  83.33  74.07  80.00  80.00  80.00\n"
                  "\n    AP positives  label\n"
                  "100.00         2  cat\n"
                  " 66.67         2  dog\n"
                  "100.00         1  tv\\\\set\n"
                  "     -         0  cow\n");
}

TEST_CASE("COCO's pictures lie where its annotation file says by its name", "[command]") {
  using q2l::command::detail::coco_pictures;
  CHECK(std::filesystem::path(coco_pictures("root/annotations/instances_val2014.json"))
            .lexically_normal() == "root/val2014");
  CHECK(std::filesystem::path(coco_pictures("instances_val.json")).lexically_normal() == "../val");
  try {
    static_cast<void>(coco_pictures("root/annotations/val.json"));
    FAIL("found");
  } catch (const q2l::command::Failure& failure) {
    CHECK(failure.code() == q2l::command::ExitCode::usage);
    CHECK(std::string(failure.what()).starts_with("--pictures is required"));
  }
}

#ifdef Q2L_COMMAND

namespace {

namespace eval_program = q2l::test::program;

/// Annotations as COCO has them: pictures with the label, by number, that is true of each.
nlohmann::json coco_of(const std::vector<std::pair<std::string, int>>& pictures) {
  nlohmann::json coco;
  for (int label = 0; label < 3; ++label)
    coco["categories"].push_back({{"id", 10 + label}, {"name", "label " + std::to_string(label)}});
  int id = 0;
  for (const auto& [name, label] : pictures) {
    coco["images"].push_back({{"id", ++id}, {"file_name", name}});
    coco["annotations"].push_back({{"image_id", id}, {"category_id", 10 + label}});
  }
  return coco;
}

/// Three pictures, whose scores for the three labels are
///   scene1  0.820 0.642 0.8991
///   scene2  0.806 0.567 0.9017
///   scene3  0.801 0.552 0.9003
const std::vector<std::pair<std::string, int>> eval_pictures = {
    {"scene1.jpg", 1}, {"scene2.png", 0}, {"scene3.jpg", 2}};

eval_program::Result evaluate(eval_program::Arguments arguments) {
  arguments.insert(arguments.begin(),
                   {"eval", "--model", eval_program::tiny_model, "--threads", "1"});
  return eval_program::run(arguments);
}

}  // namespace

TEST_CASE("COCO's layout is found and judged whatever the batch, but for pictures that are lost",
          "[command]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "val");
  for (const auto& [name, label] : eval_pictures)
    std::filesystem::copy(eval_program::demo_pictures + "/" + name, folder / "val" / name);
  const std::string annotations =
      folder.write("annotations/instances_val.json", coco_of(eval_pictures).dump());
  // Labels 0 and 2 are predicted for all pictures and right for one, the second by score; label 1
  // is predicted from 0.6 only where it is true.
  const std::string expected = "pictures 3\nmAP 66.67 over 3 of 3 labels\n\n" + eval_heading +
                               "score >= 0.6          55.56 100.00  71.43  42.86 100.00  60.00\n"
                               "best 3                33.33 100.00  50.00  33.33 100.00  50.00\n"
                               "best 3, >= 0.6        55.56 100.00  71.43  42.86 100.00  60.00\n"
                               "\n    AP positives  label\n"
                               " 50.00         1  label 0\n"
                               "100.00         1  label 1\n"
                               " 50.00         1  label 2\n";
  const eval_program::Result pairs =
      evaluate({"--coco", annotations, "--threshold", "0.6", "--batch", "2"});
  CHECK(pairs.status == 0);
  CHECK(pairs.err.empty());
  CHECK(pairs.out == expected);
  CHECK(evaluate({"--coco", annotations, "--threshold", "0.6", "--pictures",
                  eval_program::demo_pictures})
            .out == expected);

  auto more = eval_pictures;
  more.insert(more.begin() + 1, {"lost.jpg", 1});
  folder.write("annotations/instances_val.json", coco_of(more).dump());
  const eval_program::Result lost =
      evaluate({"--coco", annotations, "--threshold", "0.6", "--batch", "2"});
  CHECK(lost.status == 1);
  CHECK(lost.out == expected);
  CHECK(eval_program::lines_in(lost.err) == 2);
  CHECK(lost.err.find("lost.jpg: ") != std::string::npos);
  CHECK(lost.err.ends_with("1 of 4 pictures failed; the figures are those of the others\n"));
}

TEST_CASE("VOC's layout is judged, but for what is difficult", "[command]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "JPEGImages");
  for (const auto& [name, label] : eval_pictures)
    std::filesystem::copy(eval_program::demo_pictures + "/" + name,
                          folder / "JPEGImages" / (name.substr(0, 6) + ".jpg"));
  const auto list = [&](const std::string& name, const std::string& text) {
    folder.write("ImageSets/Main/" + name + ".txt", text);
  };
  list("val", "scene1\nscene2\nscene3\n");
  list("label 0_val", "scene1 -1\nscene2  1\nscene3 -1\n");
  list("label 1_val", "scene1  1\nscene2 -1\nscene3 -1\n");
  list("label 2_val", "scene1 -1\nscene2  0\nscene3  1\n");
  const eval_program::Result result =
      evaluate({"--voc", folder.path(), "--split", "val", "--threshold", "0.6"});
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  // As COCO's above, but without label 2's best score: it is right for one of two, the first.
  CHECK(result.out == "pictures 3\nmAP 83.33 over 3 of 3 labels\n\n" + eval_heading +
                          "score >= 0.6          61.11 100.00  75.86  50.00 100.00  66.67\n"
                          "best 3                38.89 100.00  56.00  37.50 100.00  54.55\n"
                          "best 3, >= 0.6        61.11 100.00  75.86  50.00 100.00  66.67\n"
                          "\n    AP positives  label\n"
                          " 50.00         1  label 0\n"
                          "100.00         1  label 1\n"
                          "100.00         1  label 2\n");
  CHECK(evaluate({"--voc", folder.path()}).status == 3);  // there is no split "test"
}

TEST_CASE("Pictures are judged as their orientation says, or as they are stored if asked",
          "[command]") {
  const std::string folder = std::string(Q2L_TESTS_DIR) + "/image/data";
  const std::string picture = folder + "/orientation6.jpg";
  const auto scores = [&](const eval_program::Arguments& more) {
    eval_program::Arguments arguments = {"--format", "jsonl", "--scores", "all", picture};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return eval_program::records_of(eval_program::tag(arguments).out).at(0).at("scores");
  };
  const auto turned = scores({})[0]["score"], stored = scores({"--no-orient"})[0]["score"];
  REQUIRE(turned != stored);
  const bool turned_is_higher = turned.get<float>() > stored.get<float>();
  const TemporaryFolder temporary;
  const std::string annotations =
      temporary.write("instances.json", coco_of({{"orientation6.jpg", 0}}).dump());
  /// The recall from the higher of the two scores on.
  const auto recall = [&](const eval_program::Arguments& more) {
    eval_program::Arguments arguments = {
        "--coco", annotations,   "--pictures",
        folder,   "--threshold", (turned_is_higher ? turned : stored).dump()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const std::vector<std::string> lines = eval_program::lines_of(evaluate(arguments).out);
    REQUIRE(lines.size() > 4);
    return lines[4].substr(48, 7);
  };
  CHECK(recall({}) == (turned_is_higher ? " 100.00" : "   0.00"));
  CHECK(recall({"--no-orient"}) == (turned_is_higher ? "   0.00" : " 100.00"));
}

TEST_CASE("A model is not judged by categories that are not its labels", "[command]") {
  const TemporaryFolder folder;
  nlohmann::json coco = coco_of(eval_pictures);
  coco["categories"].erase(0);
  const std::string annotations = folder.write("instances.json", coco.dump());
  CHECK(evaluate({"--coco", annotations, "--pictures", eval_program::demo_pictures}).status == 3);
  const eval_program::Result unknown = evaluate({"--coco", annotations});
  CHECK(unknown.status == 2);
  CHECK(unknown.err.starts_with("q2l: --pictures is required"));
}

#endif  // Q2L_COMMAND
