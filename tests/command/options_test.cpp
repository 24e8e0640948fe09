// SPDX-License-Identifier: MIT
#include "q2l/options.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace q2l::command;

namespace {

CommandLine parse(std::vector<const char*> arguments,
                  const std::string& default_model = "demo.safetensors") {
  arguments.insert(arguments.begin(), "q2l");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data(), default_model,
                            "q2l 1.2.3");
}

/// The message with which the arguments are refused.
std::string refused(const std::vector<const char*>& arguments,
                    const std::string& default_model = "demo.safetensors") {
  try {
    parse(arguments, default_model);
  } catch (const Failure& failure) {
    CHECK(failure.code() == ExitCode::usage);
    return failure.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("All options of tag are understood", "[command]") {
  const CommandLine line =
      parse({"tag",      "--model",     "m.pkl",       "--config", "c.json",   "--labels",
             "l.txt",    "--threshold", "0.25",        "--top-k",  "3",        "--threads",
             "2",        "--batch",     "4",           "--format", "jsonl",    "--scores",
             "all",      "--no-orient", "--heat-maps", "maps",     "--output", "out",
             "--resume", "a.jpg",       "-",           "--",       "-b.jpg"});
  CHECK(line.action == CommandLine::Action::tag);
  CHECK(line.tag.model.model == "m.pkl");
  CHECK(line.tag.model.config == "c.json");
  CHECK(line.tag.model.labels == "l.txt");
  CHECK(line.tag.threshold == 0.25f);
  CHECK(line.tag.best == 3u);
  CHECK(line.tag.threads == 2);
  CHECK(line.tag.batch == 4);
  CHECK(line.tag.format == Format::jsonl);
  CHECK(line.tag.all_scores);
  CHECK_FALSE(line.tag.orient);
  CHECK(line.tag.heat_maps == "maps");
  CHECK(line.tag.output == "out");
  CHECK(line.tag.resume);
  CHECK(line.tag.paths == std::vector<std::string>{"a.jpg", "-", "-b.jpg"});
}

TEST_CASE("Names in brackets and of plus signs are names", "[command]") {
  const CommandLine line =
      parse({"tag", "[a,b]", "++", "--heat-maps", "[m]", "[]", "./[c]", "[-]"});
  CHECK(line.tag.paths == std::vector<std::string>{"[a,b]", "++", "[]", "./[c]", "[-]"});
  CHECK(line.tag.heat_maps == "./[m]");
  CHECK(parse({"info", "[m]"}).info.model == "./[m]");
}

TEST_CASE("Options not given have their defaults", "[command]") {
  const CommandLine line = parse({"tag", "info"});  // a picture may be called like a subcommand
  CHECK(line.tag.paths == std::vector<std::string>{"info"});
  CHECK(line.tag.model.model == "demo.safetensors");
  CHECK_FALSE(line.tag.threshold.has_value());
  CHECK_FALSE(line.tag.best.has_value());
  CHECK(line.tag.threads >= 1);
  CHECK(line.tag.batch == 1);
  CHECK(line.tag.format == Format::text);
  CHECK_FALSE(line.tag.all_scores);
  CHECK(line.tag.orient);
  CHECK_FALSE(line.tag.resume);
}

TEST_CASE("The other subcommands are understood", "[command]") {
  const CommandLine info = parse({"info", "m.pkl", "--config", "c.json"});
  CHECK(info.action == CommandLine::Action::info);
  CHECK(info.info.model == "m.pkl");
  CHECK(info.info.config == "c.json");
  CHECK(parse({"info"}).info.model == "demo.safetensors");
  const CommandLine convert = parse({"convert", "in.pkl", "out.safetensors", "--labels", "l.txt"});
  CHECK(convert.action == CommandLine::Action::convert);
  CHECK(convert.convert.model.model == "in.pkl");
  CHECK(convert.convert.output == "out.safetensors");
  CHECK(convert.convert.model.labels == "l.txt");
  const CommandLine bench =
      parse({"bench", "m.json", "--threads", "2", "--batch", "8", "--repeat", "3"});
  CHECK(bench.action == CommandLine::Action::bench);
  CHECK(bench.bench.model.model == "m.json");
  CHECK(bench.bench.threads == 2);
  CHECK(bench.bench.batch == 8);
  CHECK(bench.bench.repetitions == 3);
  CHECK(bench.bench.schedule == q2l::Schedule::latency);
  const CommandLine apart =
      parse({"tag", "a.jpg", "--schedule", "throughput", "--threads", "3", "--batch", "4"});
  CHECK(apart.tag.schedule == q2l::Schedule::throughput);
  CHECK(apart.tag.batch == 6);  // two for each
  CHECK(parse({"bench", "m", "--schedule", "throughput", "--threads", "3"}).bench.batch == 3);
  CHECK_FALSE(bench.bench.error);
  CHECK(parse({"bench", "m", "--error", "--precision", "bf16"}).bench.error);
  const CommandLine narrow = parse({"convert", "in", "out", "--precision", "int8", "--calibrate",
                                    "pictures", "--scales", "min-max", "--error-budget", "0.1"});
  CHECK(narrow.convert.precision == q2l::Precision::int8);
  CHECK(narrow.convert.calibrate == "pictures");
  CHECK(narrow.convert.pictures == 128);
  CHECK(narrow.convert.scales == q2l::ScaleChoice::min_max);
  CHECK(narrow.convert.error_budget == 0.1);
  CHECK(parse({"tag", "--precision", "bf16", "x"}).tag.model.precision == q2l::Precision::bf16);
  const CommandLine eval = parse({"eval", "--coco", "c.json", "--pictures", "val", "--threshold",
                                  "0.3", "--batch", "2", "--no-orient"});
  CHECK(eval.action == CommandLine::Action::eval);
  CHECK(eval.eval.model.model == "demo.safetensors");
  CHECK(eval.eval.coco == "c.json");
  CHECK(eval.eval.pictures == "val");
  CHECK(eval.eval.threshold == 0.3f);
  CHECK(eval.eval.batch == 2);
  CHECK_FALSE(eval.eval.orient);
  CHECK(parse({"eval", "--voc", "VOC2007"}).eval.split == "test");
  CHECK(parse({"eval", "--voc", "VOC2012", "--split", "val"}).eval.split == "val");
  CHECK(parse({"--version"}).text == "q2l 1.2.3\n");
  CHECK(parse({"tag", "--help"}).text.find("--heat-maps") != std::string::npos);
  CHECK(parse({"--help"}).text.find("convert") != std::string::npos);
}

TEST_CASE("What cannot be understood is refused with one line", "[command]") {
  const std::vector<std::vector<const char*>> bad = {
      {},
      {"paint", "a.jpg"},
      {"tag"},
      {"tag", "a.jpg", "--threads", "0"},
      {"tag", "a.jpg", "--threads", "-1"},
      {"tag", "a.jpg", "--threads", "1000000000"},
      {"tag", "a.jpg", "--threads", "abc"},
      {"tag", "a.jpg", "--threads", ""},
      {"tag", "a.jpg", "--threads"},
      {"tag", "a.jpg", "--threads", "1", "--threads", "2"},
      {"tag", "a.jpg", "--batch", "0"},
      {"tag", "a.jpg", "--top-k", "0"},
      {"tag", "a.jpg", "--top-k", "010"},
      {"tag", "a.jpg", "--threshold", "nan"},
      {"tag", "a.jpg", "--threshold", "-1"},
      {"tag", "a.jpg", "--threshold", "2"},
      {"tag", "a.jpg", "--threshold", "0,5"},
      {"tag", "a.jpg", "--threshold", "1e999"},
      {"tag", "a.jpg", "--format", "xml"},
      {"tag", "a.jpg", "--schedule", "fast"},
      {"tag", "a.jpg", "--scores", "some"},
      {"tag", "a.jpg", "--unknown"},
      {"tag", "a.jpg", "--resume", "--format", "jsonl"},
      {"tag", "a.jpg", "--resume", "--output", "x"},
      {"info", "a", "b"},
      {"convert", "in"},
      {"convert", "in", ""},
      {"bench", "m", "--repeat", "0"},
      {"eval"},
      {"eval", "--coco", "c.json", "--voc", "v"},
      {"eval", "--voc", "v", "--pictures", "p"},
      {"eval", "--coco", "c.json", "--split", "val"},
      {"tag", "--precision", "f64", "x"},
      {"convert", "in", "out", "--precision", "int8"},
      {"convert", "in", "out", "--calibrate", "pictures"},
      {"convert", "in", "out", "--precision", "int8", "--calibrate", "p", "--scales", "none"},
      {"convert", "in", "out", "--precision", "bf16", "--error-budget", "0.1"}};
  for (const auto& arguments : bad) {
    const std::string message = refused(arguments);
    CAPTURE(message);
    CHECK(message != "accepted");
    CHECK_FALSE(message.empty());
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 400);
  }
  CHECK(refused({"tag", "a.jpg", "--threshold", "2"}) == "--threshold: must lie in 0..1");
}

TEST_CASE("An argument of a megabyte gives a short message", "[command]") {
  const std::string huge = "--" + std::string(1 << 20, 'x');
  CHECK(refused({"tag", "a.jpg", huge.c_str()}).size() < 400);
}

TEST_CASE("Without a bundled model the model must be named", "[command]") {
  CHECK(refused({"tag", "a.jpg"}, "") == "--model is required");
  CHECK(refused({"info"}, "") == "MODEL is required");
  CHECK(refused({"tag", "a.jpg", "--model", "m"}, "") == "accepted");
}
