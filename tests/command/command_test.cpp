// SPDX-License-Identifier: MIT
// The program itself, as users run it, on a tiny model. Q2L_COMMAND is its path; a build without
// the tools has none.
#ifdef Q2L_COMMAND

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "command/program.hpp"
#include "q2l/escape.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/tagger.hpp"
#include "support/temporary_folder.hpp"

using q2l::test::content_of;
using q2l::test::TemporaryFolder;
using namespace q2l::test::program;

namespace {

/// How programs started here take a signal until the end of the test, and this one as well.
class SignalAction {
 public:
  SignalAction(int number, void (*action)(int)) : number_(number) {
    struct sigaction wanted {};
    wanted.sa_handler = action;
    REQUIRE(::sigaction(number, &wanted, &before_) == 0);
  }
  SignalAction(const SignalAction&) = delete;
  SignalAction& operator=(const SignalAction&) = delete;
  ~SignalAction() { ::sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_ {};
};

/// A run that has tagged a first picture and waits for the paths of more.
class WaitingRun {
 public:
  WaitingRun() {
    REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0);
    err_ = ::open(folder_.write("err", "").c_str(), O_WRONLY | O_CLOEXEC);
    const std::filesystem::path output = folder_ / "out";
    child_ = start({"tag", "--model", tiny_model, "--format", "jsonl", "--output", output, "-"},
                   ends_[0], err_, err_);
    const std::string path = demo_pictures + "/scene1.jpg\n" + demo_pictures + "/scene2.png\n";
    REQUIRE(::write(ends_[1], path.data(), path.size()) == static_cast<ssize_t>(path.size()));
    for (int i = 0;
         i < 3000 && (!std::filesystem::exists(output) || std::filesystem::file_size(output) == 0);
         ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  WaitingRun(const WaitingRun&) = delete;
  WaitingRun& operator=(const WaitingRun&) = delete;
  ~WaitingRun() {
    end_list();
    ::close(ends_[0]);
    ::close(err_);
  }

  void send(int signal) const { ::kill(child_, signal); }
  void end_list() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  [[nodiscard]] int status() const { return status_of(child_); }
  [[nodiscard]] std::string out() const { return content_of(folder_ / "out"); }
  [[nodiscard]] std::string err() const { return content_of(folder_ / "err"); }

 private:
  TemporaryFolder folder_;
  int ends_[2] = {-1, -1};
  int err_ = -1;
  pid_t child_ = -1;
};

}  // namespace

TEST_CASE("The command prints the scores that the library computes, to the bit", "[command]") {
  const std::string picture = demo_pictures + "/scene2.png";
  const Result result = tag({"--format", "jsonl", "--scores", "all", "--top-k", "1", picture});
  CHECK(result.status == 0);
  CHECK(result.err.empty());
  const auto records = records_of(result.out);
  REQUIRE(records.size() == 1);
  const q2l::Image image = q2l::read_image(picture);
  CHECK(records[0]["path"] == picture);
  CHECK(records[0]["width"] == image.width);
  CHECK(records[0]["height"] == image.height);
  CHECK(records[0]["tags"].size() == 1);

  const q2l::Tagger tagger = q2l::Tagger::load(tiny_model, {.threads = 1});
  const std::vector<float> scores = tagger.scores(std::span(&image, 1))[0];
  REQUIRE(records[0]["scores"].size() == scores.size());
  for (std::size_t k = 0; k < scores.size(); ++k) {
    CHECK(records[0]["scores"][k]["label"] == tagger.labels()[k]);
    CHECK(records[0]["scores"][k]["score"].get<float>() == scores[k]);
  }
}

TEST_CASE("A folder with broken pictures gives every picture one record and exit 1", "[command]") {
  const TemporaryFolder folder;
  std::filesystem::copy(demo_pictures + "/scene1.jpg", folder / "good.jpg");
  std::filesystem::copy(demo_pictures + "/scene2.png", folder / "also\xFF good.png");
  folder.write("cut.jpg", content_of(demo_pictures + "/scene1.jpg").substr(0, 1000));
  folder.write("empty.png", "");
  folder.write("notes.txt", "not a picture");
  const Result result = tag({"--format", "jsonl", "--batch", "3", folder.path().string()});
  CHECK(result.status == 1);
  const auto records = records_of(result.out);
  REQUIRE(records.size() == 4);
  CHECK(q2l::command::from_hex(records[0]["path_bytes"].get<std::string>()) ==
        (folder / "also\xFF good.png").string());
  CHECK(records[1]["error"]["code"] == "ImageTruncated");
  CHECK(records[2]["error"]["code"] == "ImageUnsupported");
  CHECK(records[3]["tags"].is_array());
  CHECK(lines_in(result.err) == 3);
  CHECK(result.err.ends_with("q2l: 2 of 4 pictures failed\n"));
}

TEST_CASE("Batches and threads do not change what is printed", "[command]") {
  const Result one = tag({"--format", "jsonl", "--scores", "all", demo_pictures});
  CHECK(lines_in(one.out) == 6);
  CHECK(tag({"--format", "jsonl", "--scores", "all", "--batch", "4", demo_pictures}).out ==
        one.out);
  CHECK(run({"tag", "--model", tiny_model, "--threads", "3", "--format", "jsonl", "--scores", "all",
             demo_pictures})
            .out == one.out);
}

TEST_CASE("A threshold chooses the tags, and with top-k those of the best that reach it",
          "[command]") {
  const auto tags = [](Arguments arguments) {
    arguments.insert(arguments.end(), {"--format", "jsonl", demo_pictures + "/scene1.jpg"});
    const auto records = records_of(tag(arguments).out);
    std::vector<std::string> labels;
    for (const nlohmann::json& one : records.at(0).at("tags")) labels.push_back(one.at("label"));
    return labels;
  };
  using Labels = std::vector<std::string>;  // their scores are 0.82, 0.64 and 0.90
  CHECK(tags({}) == Labels{"label 2", "label 0", "label 1"});
  CHECK(tags({"--threshold", "0.7"}) == Labels{"label 2", "label 0"});
  CHECK(tags({"--threshold", "0.95"}).empty());
  CHECK(tags({"--top-k", "2", "--threshold", "0.85"}) == Labels{"label 2"});
  CHECK(tags({"--top-k", "1", "--threshold", "0.7"}) == Labels{"label 2"});
}

TEST_CASE("A picture's orientation is ignored if asked", "[command]") {
  const std::string picture = std::string(Q2L_TESTS_DIR) + "/image/data/orientation6.jpg";
  const auto turned = records_of(tag({"--format", "jsonl", picture}).out).at(0);
  CHECK(turned.at("width") == 24);
  CHECK(turned.at("height") == 16);
  const auto stored = records_of(tag({"--format", "jsonl", "--no-orient", picture}).out).at(0);
  CHECK(stored.at("width") == 16);
  CHECK(stored.at("height") == 24);
}

TEST_CASE("A list of paths on standard input is tagged in its order", "[command]") {
  const Result result = tag({"-"}, demo_pictures + "/scene3.jpg\n" + demo_pictures + "/scene1.jpg");
  CHECK(result.status == 0);
  CHECK(lines_in(result.out) == 2);
  CHECK(result.out.starts_with(demo_pictures + "/scene3.jpg: "));
}

TEST_CASE("A run that was cut short is resumed to the output of a whole one", "[command]") {
  const std::string format = GENERATE("jsonl", "csv");
  const TemporaryFolder folder;
  const std::string output = folder / "out";
  REQUIRE(tag({"--format", format, "--output", output, demo_pictures}).status == 0);
  const std::string whole = content_of(output);
  for (const std::size_t cut :
       {std::size_t{0}, std::size_t{20}, whole.size() / 2, whole.size() - 1, whole.size()}) {
    INFO("cut at " << cut);
    folder.write("out", whole.substr(0, cut));
    CHECK(tag({"--format", format, "--output", output, "--resume", demo_pictures}).status == 0);
    CHECK(content_of(output) == whole);
  }
  CHECK(tag({"--format", format, "--output", output, demo_pictures}).status == 2);
  CHECK(content_of(output) == whole);
}

TEST_CASE("A resumed run has the exit status of a whole one", "[command]") {
  const TemporaryFolder folder;
  folder.write("broken.png", "no picture");
  for (const char* format : {"jsonl", "csv"}) {
    const Arguments arguments = {"--format",      format,        "--output",
                                 folder / format, demo_pictures, folder / "broken.png"};
    CHECK(tag(arguments).status == 1);
    Arguments again = arguments;
    again.push_back("--resume");
    const Result resumed = tag(again);
    CHECK(resumed.status == 1);
    CHECK(resumed.err.find("1 failed before") != std::string::npos);
  }
}

TEST_CASE("Only a run that would write the same lines is resumed", "[command]") {
  const TemporaryFolder folder;
  const std::string output = folder / "out";
  const Arguments same = {"--format", "jsonl", "--output", output, demo_pictures + "/scene2.png"};
  const auto resumed = [&](Arguments more) {
    more.insert(more.end(), same.begin(), same.end());
    more.emplace_back("--resume");
    return tag(more);
  };
  REQUIRE(tag(same).status == 0);
  const std::string whole = content_of(output);
  CHECK(resumed({}).status == 0);
  CHECK(resumed({"--batch", "2"}).status == 0);
  const Result other = resumed({"--top-k", "2", "--scores", "all"});
  CHECK(other.status == 2);
  CHECK(other.err.find("another run (scores, top-k)") != std::string::npos);
  CHECK(resumed({"--threshold", "0.25"}).status == 2);
  CHECK(resumed({"--precision", "bf16"}).status == 2);
  CHECK(resumed({"--heat-maps", folder / "maps"}).err.find("(heat-maps)") != std::string::npos);

  const Result turned = resumed({"--no-orient"});
  CHECK(turned.status == 2);
  CHECK(turned.err.find("another run (orient)") != std::string::npos);

  folder.write("labels.txt", "a\nb\nc\n");
  CHECK(resumed({"--labels", folder / "labels.txt"}).err.find("(labels)") != std::string::npos);
  CHECK(content_of(output) == whole);
  std::filesystem::remove(folder / "out.run");
  const Result unknown = resumed({"--threshold", "0.25"});
  CHECK(unknown.status == 0);
  CHECK(lines_in(unknown.err) == 1);
  for (const char* const text : {"", "{", "[1, 2]"}) {
    folder.write("out.run", text);
    const Result foreign = resumed({});
    CHECK(foreign.status == 2);
    CHECK(foreign.err.find("out.run: is not the record of a run") != std::string::npos);
  }
  std::filesystem::remove(output);
  CHECK(tag(same).status == 2);
  CHECK(content_of(folder / "out.run") == "[1, 2]");
}

TEST_CASE("A file beside a model that has its configuration in itself is not a part of it",
          "[command]") {
  const TemporaryFolder folder;
  const std::string model = folder / "model.safetensors";
  REQUIRE(run({"convert", tiny_model, model}).status == 0);
  const Arguments resumed = {"tag",
                             "--model",
                             model,
                             "--format",
                             "jsonl",
                             "--output",
                             folder / "model.json",
                             "--resume",
                             demo_pictures + "/scene2.png"};
  for (int i = 0; i < 2; ++i) CHECK(run(resumed).status == 0);  // the second meets its own output
}

TEST_CASE("A model that differs in one byte does not resume another's run", "[command]") {
  const TemporaryFolder folder;
  const std::string model = folder / "model.safetensors";
  REQUIRE(run({"convert", tiny_model, model}).status == 0);
  std::string bytes = content_of(model);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes[8 + header] = static_cast<char>(bytes[8 + header] ^ 1);  // the last bit of a weight
  const std::string other = folder.write("other.safetensors", bytes);
  const auto resumed = [&](const std::string& path) {
    return run({"tag", "--model", path, "--format", "jsonl", "--output", folder / "out", "--resume",
                demo_pictures + "/scene1.jpg"});
  };
  REQUIRE(resumed(model).status == 0);
  const std::string whole = content_of(folder / "out");
  const Result refused = resumed(other);
  CHECK(refused.status == 2);
  CHECK(refused.err.find("another run (model)") != std::string::npos);
  CHECK(content_of(folder / "out") == whole);
  std::filesystem::copy(model, folder / "copy.safetensors");
  CHECK(resumed(folder / "copy.safetensors").status == 0);
}

TEST_CASE("A file of someone else named as output is left alone, whatever the options",
          "[command][C9]") {
  const TemporaryFolder folder;
  const std::string picture = demo_pictures + "/scene1.jpg";
  const std::string model = folder / "model.safetensors";
  std::filesystem::copy(tiny_model, model);
  const std::string notes = folder.write("notes.txt", "my notes");
  for (const std::string format : {"jsonl", "csv"}) {
    for (const std::string& victim : {model, notes}) {
      const std::string before = content_of(victim);
      const Result result = run(
          {"tag", "--model", model, "--format", format, "--output", victim, "--resume", picture});
      CAPTURE(result.err);
      CHECK(result.status == 2);
      CHECK(content_of(victim) == before);
    }
  }
}

TEST_CASE("A resumed run has the configuration of the first", "[command][C5]") {
  const TemporaryFolder folder;
  const std::string checkpoint = std::string(Q2L_TESTS_DIR) + "/weights/data/resnet_basic.pkl";
  nlohmann::json config = nlohmann::json::parse(
      content_of(std::string(Q2L_TESTS_DIR) + "/weights/data/resnet_basic.json"));
  const std::string first = folder.write("first.json", config.dump());
  config["mean"] = {0.1, 0.2, 0.3};
  const std::string second = folder.write("second.json", config.dump());
  const auto status = [&](const std::string& path, const Arguments& more) {
    Arguments all = {"tag",      "--model", checkpoint, "--config",     path,
                     "--format", "jsonl",   "--output", folder / "out", demo_pictures};
    all.insert(all.end(), more.begin(), more.end());
    return run(all).status;
  };
  REQUIRE(status(first, {}) == 0);
  CHECK(status(first, {"--resume"}) == 0);
  CHECK(status(second, {"--resume"}) == 2);
}

TEST_CASE("A misspelt key of the configuration is told with the one it resembles",
          "[command][J12]") {
  const TemporaryFolder folder;
  nlohmann::json config = nlohmann::json::parse(
      content_of(std::string(Q2L_TESTS_DIR) + "/weights/data/resnet_basic.json"));
  config["image_sizes"] = 64;
  config["nhead"] = config["nheads"];
  config.erase("nheads");
  const std::string path = folder.write("config.json", config.dump());
  for (const char* command : {"tag", "info"}) {
    Arguments arguments = {command, "--config", path};
    if (arguments[0] == "tag")
      arguments.insert(arguments.end(), {"--model", tiny_model, demo_pictures});
    if (arguments[0] == "info") arguments.push_back(tiny_model);
    const auto result = run(arguments);
    CHECK(result.status == 0);
    CHECK(result.err.find("'nhead' means nothing; did you mean 'nheads'?") != std::string::npos);
    CHECK(result.err.find("image_sizes") == std::string::npos);
    arguments.push_back("--strict");
    const auto refused = run(arguments);
    CHECK(refused.status == 3);
    CHECK(refused.out.empty());
    CHECK(lines_in(refused.err) == 1);
    CHECK(refused.err.find("'nhead' means nothing; did you mean 'nheads'?") != std::string::npos);
  }
}

TEST_CASE("Heat maps are written as pictures, one a tag, and are not tagged themselves",
          "[command]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "in");
  std::filesystem::copy(demo_pictures + "/scene1.jpg", folder / "in/a.jpg");
  const std::string maps = folder / "in/maps";
  for (int round = 0; round < 2; ++round) {
    const Result result = tag({"--top-k", "2", "--heat-maps", maps, (folder / "in").string()});
    CHECK(result.status == 0);
    CHECK(lines_in(result.out) == 1);
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(maps)) {
    names.push_back(entry.path().filename());
    CHECK(q2l::read_image(entry.path()).width == 640);
  }
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"a.jpg.label 0.png", "a.jpg.label 2.png"});
}

TEST_CASE("Every kind of failure has its exit status and one line", "[command]") {
  const TemporaryFolder folder;
  const std::string picture = demo_pictures + "/scene1.jpg";
  struct Case {
    Arguments arguments;
    int status;
    std::string part;  ///< of the message
  };
  const std::vector<Case> cases = {
      {{"tag", "--model", tiny_model, picture, "--batch", "0"}, 2, "--batch"},
      {{"tag", "--model", tiny_model, picture, "--output", picture}, 2, "is the --output or"},
      {{"tag", "--model", folder / "none", picture}, 3, "none: cannot open"},
      {{"tag", "--model", picture, picture}, 3, "JPEG"},
      {{"tag", "--model", tiny_model, "--labels", folder.write("labels", "a\nb\n"), picture},
       3,
       "has 2, head has 3"},
      {{"tag", "--model", tiny_model, "--config", folder.write("bad.json", "{"), picture},
       3,
       "bad.json"},
      {{"tag", "--model", tiny_model, picture, "--output", "/dev/full"},
       4,
       "/dev/full: cannot write: No space left"},
      {{"tag", "--model", tiny_model, picture, "--heat-maps", folder / "labels"},
       4,
       "cannot make the folder"},
      {{"tag", "--model", tiny_model, demo_pictures, "--heat-maps", demo_pictures},
       2,
       "or the --heat-maps folder"},
      {{"convert", tiny_model, "-"}, 2, "standard output"},
      {{"convert", tiny_model, folder.write("text", "of somebody")}, 2, "is no model file"},
      {{"info", folder / "none"}, 3, "none: cannot open"},
      {{"convert", tiny_model, tiny_model}, 2, "is read for the conversion"},
      {{"convert", tiny_model, folder / "labels", "--labels", folder / "labels"}, 2, "is read for"},
      {{"convert", tiny_model, "/dev/null"}, 4, "/dev/null: is not a regular file"},
      {{"convert", tiny_model, folder / "m", "--pictures", "3"}, 2, "--calibrate"},
      {{"convert", tiny_model, folder / "m", "--precision", "int8", "--calibrate", demo_pictures,
        "--error-budget", "nan"},
       2,
       "--error-budget"},
      {{"conert", tiny_model, folder / "m"}, 2, "there is no subcommand 'conert'"},
      {{"convert", tiny_model, folder / "none/out"}, 4, "cannot create"},
      {{"convert", tiny_model, folder / "m", "--precision", "int8"}, 2, "--calibrate"},
      {{"convert", tiny_model, folder / "m", "--calibrate", demo_pictures}, 2, "int8"},
      {{"tag", "--model", tiny_model, "--precision", "int8", demo_pictures}, 3, "calibrated"}};
  for (const Case& test : cases) {
    const Result result = run(test.arguments);
    CAPTURE(result.err);
    CHECK(result.status == test.status);
    CHECK(lines_in(result.err) == 1);
    CHECK(result.err.starts_with("q2l: "));
    CHECK(result.err.find(test.part) != std::string::npos);
    CHECK(result.out.empty());
  }
}

TEST_CASE("Behind -- a dash is a path", "[command]") {
  const Result result = tag({"--", "-"}, demo_pictures + "/scene1.jpg\n");
  CHECK(result.status == 1);
  CHECK(result.err.starts_with("q2l: ./-: cannot open"));
}

TEST_CASE("A file that may not grow further is an output failure and keeps whole lines",
          "[command][C6]") {
  const TemporaryFolder folder;
  const std::string output = folder / "out";
  const Arguments arguments = {"--format", "jsonl", "--output", output, demo_pictures};
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 500;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Result cut = tag(arguments);
  const Result converted = run({"convert", tiny_model, folder / "model"});
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(cut.status == 4);
  CHECK(cut.err.find("File too large") != std::string::npos);
  CHECK(lines_in(content_of(output)) > 0);
  CHECK(content_of(output).ends_with('\n'));
  CHECK(converted.status == 4);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    CHECK_FALSE(entry.path().filename().string().starts_with("model"));
}

TEST_CASE("A folder in a heat map's place ends the run, and no record is without its map",
          "[command][C6]") {
  const TemporaryFolder folder;
  const std::string maps = folder / "maps";
  std::filesystem::create_directories(maps + "/scene1.jpg.label 0.png");
  const Result result = tag({"--top-k", "3", "--heat-maps", maps, demo_pictures + "/scene1.jpg"});
  CHECK(result.status == 4);
  CHECK(result.out.empty());
  CHECK(result.err.find("is not a regular file") != std::string::npos);
}

TEST_CASE("Names that nearly fill a file's name have their heat maps, too", "[command]") {
  const TemporaryFolder folder;
  const std::string labels = folder.write("labels", "\u732b/a\n\u732b_b\n\u732b b\n");
  const std::string name = std::string(251, 'x') + ".jpg";
  std::filesystem::copy(demo_pictures + "/scene1.jpg", folder / name);
  const Result result =
      tag({"--top-k", "3", "--labels", labels, "--heat-maps", folder / "maps", folder / name});
  CHECK(result.status == 0);
  for (const char* label : {"\u732b%2fa", "\u732b_b", "\u732b b"}) {
    const std::string map = std::string(150, 'x') + "." + label + ".png";
    CHECK(std::filesystem::exists(folder / "maps" / map));
  }
}

TEST_CASE("A model whose answers are no numbers is not converted", "[command][N4]") {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  REQUIRE(run({"convert", tiny_model, model}).status == 0);
  std::string bytes = content_of(model);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  nlohmann::json header = nlohmann::json::parse(bytes.substr(8, length));
  header["__metadata__"].erase("self_test");
  std::string text = header.dump();
  text.resize(length, ' ');
  bytes.replace(8, length, text);
  const auto& range = header.at("fc.W").at("data_offsets");
  constexpr float huge = 3e38f;
  for (std::size_t at = range[0]; at < range[1].get<std::size_t>(); at += sizeof huge)
    std::memcpy(&bytes[8 + length + at], &huge, sizeof huge);
  const std::string broken = folder.write("broken", bytes);
  const Result result = run({"convert", broken, folder / "out"});
  CHECK(result.status == 3);
  CHECK(result.err.find("broken: the model's answer is not a number") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
}

TEST_CASE("A closed pipe ends the run quietly", "[command]") {
  const TemporaryFolder folder;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  const int err = ::open(folder.write("err", "").c_str(), O_WRONLY | O_CLOEXEC);
  CHECK(status_of(
            start({"tag", "--model", tiny_model, demo_pictures}, STDIN_FILENO, ends[1], err)) == 4);
  ::close(ends[1]);
  ::close(err);
  CHECK(content_of(folder / "err").empty());
}

TEST_CASE("A signal to end finishes the picture at work and leaves whole lines", "[command]") {
  const int number = GENERATE(SIGINT, SIGTERM, SIGHUP);
  CAPTURE(number);
  const SignalAction taken(number, SIG_DFL);  // nohup and & let programs ignore some
  const WaitingRun waiting;
  waiting.send(number);
  CHECK(waiting.status() == 128 + number);
  CHECK(waiting.out().ends_with('\n'));
  CHECK(records_of(waiting.out()).size() >= 1);
  CHECK(waiting.err().starts_with("q2l: stopped after "));
}

TEST_CASE("A signal that the parent ignores does not end the run", "[command]") {
  const SignalAction ignored(SIGHUP, SIG_IGN);
  WaitingRun waiting;
  waiting.send(SIGHUP);
  waiting.end_list();
  CHECK(waiting.status() == 0);
  CHECK(lines_in(waiting.out()) == 2);
  CHECK(waiting.err().empty());
}

TEST_CASE("Messages do not end up in files where standard error is closed", "[command]") {
  const TemporaryFolder folder;
  const std::string results = folder / "results.jsonl";
  folder.write("cut.png", "\x89PNG\r\n\x1a\n");
  const pid_t child = start({"tag", "--model", tiny_model, "--format", "jsonl", "--output", results,
                             folder / "cut.png", demo_pictures + "/scene1.jpg"},
                            -1, -1, -1);
  CHECK(status_of(child) == 1);
  CHECK(records_of(content_of(results)).size() == 2);
}

TEST_CASE("What a model's configuration leaves open is told", "[command]") {
  const TemporaryFolder folder;
  const std::string alone = folder.write("model.pkl", content_of(tiny_model));
  const Result result = run({"tag", "--model", alone, demo_pictures + "/scene1.jpg"});
  CHECK(result.status == 0);
  CHECK(lines_in(result.err) == 2);
  CHECK(result.err.find("'nheads'; 4 is assumed") != std::string::npos);
  CHECK(result.err.find("'orid_norm'; false is assumed") != std::string::npos);
  CHECK(run({"tag", "--strict", "--model", alone, demo_pictures + "/scene1.jpg"}).status == 3);
  CHECK(run({"convert", "--strict", alone, folder / "out.safetensors"}).status == 3);
  CHECK(!std::filesystem::exists(folder / "out.safetensors"));
  CHECK(tag({"--strict", demo_pictures + "/scene1.jpg"}).status == 0);
}

TEST_CASE("What a model is is told line by line", "[command]") {
  const std::vector<std::string> expected = {
      "model        " + tiny_model + " (PyTorch checkpoint)",
      "             tensors of 'state_dict', without the prefix 'module.'",
      "backbone     resnet18, 16 channels, stride 32",
      "picture      64 x 64, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
      "projection   1 x 1 convolution to the transformer's width",
      "transformer  width 8, 2 heads, feed-forward 12",
      "encoder      1 layer",
      "decoder      2 layers",
      "parameters   7261",
      "stored as    F32 (104 tensors)",
      "memory       ",  // what this instruction set needs
      "self-test    none in the file",
      "thresholds   0.5",
      "labels       3: label 0, label 1, label 2"};
  const Result described = run({"info", tiny_model});
  CHECK(described.status == 0);
  CHECK(described.err.empty());
  std::vector<std::string> lines = lines_of(described.out);
  REQUIRE(lines.size() == expected.size());
  const std::size_t memory = 10;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i == memory) {
      CHECK(lines[i].starts_with(expected[i]));
      CHECK(lines[i].find(" MB of weights, ") != std::string::npos);
      CHECK(lines[i].ends_with(" MB of scratch for a picture"));
    } else {
      CHECK(lines[i] == expected[i]);
    }
  }

  const std::vector<std::string> measured = lines_of(run({"info", "--measure", tiny_model}).out);
  REQUIRE(measured.size() == lines.size() + 1);
  const std::string& resident = measured[memory + 1];
  CHECK(resident.starts_with("measured     "));
  CHECK(resident.ends_with(" MB resident after a picture"));
  CHECK(std::stod(resident.substr(13)) > 0);
  lines.insert(lines.begin() + memory + 1, resident);
  CHECK(measured == lines);

  const std::string larger = run({"info", demo_pictures + "/demo.safetensors"}).out;
  for (const char* line :
       {"parameters   2.0 million\n", "stored as    F16 (123 tensors), F32 (20 tensors)\n",
        "self-test    passed\n"})
    CHECK(larger.find(line) != std::string::npos);
}

TEST_CASE("A converted checkpoint says everything itself and gives the same scores", "[command]") {
  const TemporaryFolder folder;
  const std::string converted = folder / "model.safetensors";
  const std::string labels = folder.write("labels.txt", "cat\ndog\nhot dog\n");
  REQUIRE(run({"convert", tiny_model, converted, "--labels", labels}).status == 0);

  const Result described = run({"info", converted});
  CHECK(described.status == 0);
  CHECK(described.out.find("3: cat, dog, hot dog\n") != std::string::npos);
  CHECK(described.out.find("safetensors") != std::string::npos);
  CHECK(described.out.find("passed") != std::string::npos);
  CHECK(run({"info", tiny_model}).out.find("PyTorch checkpoint") != std::string::npos);

  const Arguments rest = {"--format", "jsonl", "--scores", "all", demo_pictures};
  Arguments from_converted = {"tag", "--model", converted};
  Arguments from_checkpoint = {"tag", "--model", tiny_model, "--labels", labels};
  for (Arguments* arguments : {&from_converted, &from_checkpoint})
    arguments->insert(arguments->end(), rest.begin(), rest.end());
  const Result a = run(from_converted);
  CHECK(a.status == 0);
  CHECK(lines_in(a.out) == 6);
  CHECK(a.out == run(from_checkpoint).out);

  const std::string packed = folder / "packed.safetensors";
  REQUIRE(run({"convert", "--packed", converted, packed}).status == 0);
  const Result packed_info = run({"info", packed});
  CHECK(packed_info.out.find("packed for") != std::string::npos);
  CHECK(packed_info.out.find("3: cat, dog, hot dog\n") != std::string::npos);
  CHECK(packed_info.out.find("passed") != std::string::npos);
  from_converted[2] = packed;
  CHECK(run(from_converted).out == a.out);
  const Result again = run({"convert", packed, folder / "again.safetensors"});
  CHECK(again.status == 3);
  CHECK(again.err.find("convert the plain one") != std::string::npos);
}

TEST_CASE("A model converted to a narrow precision is smaller, says so and gives its own scores",
          "[command]") {
  const TemporaryFolder folder;
  const std::string narrow = folder / "bf16.safetensors", smaller = folder / "int8.safetensors";
  REQUIRE(run({"convert", tiny_model, narrow, "--precision", "bf16"}).status == 0);
  const std::string calibration = folder / "calibration";
  std::filesystem::copy(demo_pictures, calibration);
  folder.write("calibration/cut.png", "\x89PNG\r\n\x1a\n");
  const Result converted = run({"convert", tiny_model, smaller, "--precision", "int8",
                                "--calibrate", calibration, "--error-budget", "0"});
  REQUIRE(converted.status == 0);
  CHECK(converted.err.find("cut.png: ") != std::string::npos);
  CHECK(converted.err.find("few pictures") != std::string::npos);
  const std::vector<std::string> damages = lines_of(converted.out);
  REQUIRE(damages.size() > 20);
  for (const std::string& line : damages)
    CHECK((!line.ends_with("int8") || line.find(" 0.00e+00 ") != std::string::npos));
  CHECK(damages.back().ends_with("bf16"));
  CHECK(run({"info", smaller}).out.find("computed in int8, but 1 in f32 and ") !=
        std::string::npos);
  REQUIRE(run({"convert", tiny_model, smaller, "--precision", "int8", "--calibrate", demo_pictures,
               "--error-budget", "0.5"})
              .status == 0);
  const std::string wide = folder / "f32.safetensors";
  REQUIRE(run({"convert", tiny_model, wide}).status == 0);
  CHECK(std::filesystem::file_size(narrow) < std::filesystem::file_size(wide));
  CHECK(run({"info", smaller}).out.find("I8 (") != std::string::npos);
  CHECK(run({"info", narrow}).out.find("bf16") != std::string::npos);
  CHECK(run({"info", smaller}).out.find("int8") != std::string::npos);
  CHECK(run({"info", smaller}).out.find("passed") != std::string::npos);

  const std::string picture = demo_pictures + "/scene2.png";
  const q2l::Image image = q2l::read_image(picture);
  const auto own = [&](const std::string& path, std::optional<q2l::Precision> precision = {}) {
    return q2l::Tagger::load(path, {.threads = 1, .precision = precision})
        .scores(std::span(&image, 1))[0];
  };
  const auto printed = [&](const std::string& path, const Arguments& more = {}) {
    Arguments arguments = {"tag", "--model", path, "--format", "jsonl", "--scores", "all", picture};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = run(arguments);
    CHECK(result.status == 0);
    std::vector<float> scores;
    for (const nlohmann::json& record : records_of(result.out))
      for (const nlohmann::json& label : record.at("scores"))
        scores.push_back(label.at("score").get<float>());
    return scores;
  };
  // How near they are to f32's is what the golden files of each precision judge.
  CHECK(printed(wide) == own(wide));
  CHECK(printed(narrow) == own(narrow));
  CHECK(printed(wide, {"--precision", "bf16"}) == own(wide, q2l::Precision::bf16));
  CHECK(printed(smaller) == own(smaller));
  for (const std::string& other : {narrow, smaller}) CHECK(own(other) != own(wide));
}

#endif  // Q2L_COMMAND
