// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/exit_code.hpp"
#include "q2l/record.hpp"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <CLI/CLI.hpp>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "query2label/core/machine_threads.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/schedule.hpp"
#include "query2label/model/calibration.hpp"

namespace q2l::command {

/// Which model, for every subcommand.
struct ModelOptions {
  std::string model;
  std::string config;                       ///< empty: beside the model or inside it
  std::string labels;                       ///< empty: the model's own
  std::optional<Precision> precision = {};  ///< nothing: the model's own
  std::string state_dict;                   ///< of a checkpoint with several; empty: the preferred
  bool strict = false;                      ///< nothing about the configuration may be in doubt
};

struct TagOptions {
  ModelOptions model;
  std::vector<std::string> paths;
  std::optional<float> threshold;
  std::optional<std::size_t> best;
  std::size_t threads = machine_threads();
  std::size_t batch = 1;
  Schedule schedule = Schedule::latency;
  Format format = Format::text;
  bool all_scores = false;
  bool orient = true;
  std::string heat_maps;  ///< empty: none
  std::string output;     ///< empty: standard output
  bool resume = false;
};

struct ConvertOptions {
  ModelOptions model;
  std::string output;
  std::optional<Precision> precision;  ///< nothing: as the model is
  std::string calibrate;               ///< folder of pictures; for int8
  std::size_t pictures = 128;
  ScaleChoice scales = ScaleChoice::mean_squared_error;
  std::optional<double> error_budget;  ///< rms of the logits' change relative to their spread
  bool packed = false;                 ///< for this program's instruction set
};

struct EvalOptions {
  ModelOptions model;
  std::string coco;            ///< annotation file; or
  std::string voc;             ///< folder with JPEGImages and ImageSets
  std::string pictures;        ///< folder of COCO's pictures; empty: where COCO has it
  std::string split = "test";  ///< of VOC
  float threshold = 0.5f;      ///< of CP to OF1
  std::size_t threads = machine_threads();
  std::size_t batch = 1;
  Schedule schedule = Schedule::latency;
  bool orient = true;
};

struct BenchOptions {
  ModelOptions model;
  std::size_t threads = machine_threads();
  std::size_t batch = 1;
  Schedule schedule = Schedule::latency;
  std::size_t repetitions = 10;
  bool error = false;  ///< compare with f32, layer by layer, instead
};

/// The subcommand to run and what it was given; `text` is to be printed instead if it is not empty.
struct CommandLine {
  enum class Action { print, tag, info, convert, eval, bench };
  Action action = Action::print;
  std::string text;
  TagOptions tag;
  ModelOptions info;
  bool measure = false;  ///< info: measure memory as well
  ConvertOptions convert;
  EvalOptions eval;
  BenchOptions bench;
};

namespace detail {

constexpr std::size_t most_threads = 1024;
constexpr std::size_t largest_batch = 1024;
constexpr std::size_t most_labels = 1'000'000;
constexpr std::size_t most_repetitions = 1'000'000;
constexpr std::size_t most_calibration_pictures = 4096;

/// A whole number, which CLI11 would read as octal after a zero.
inline auto from_one_to(std::size_t most) {
  return [most](const std::string& text) -> std::string {
    std::size_t value = 0;
    const bool is_decimal = text.find_first_not_of("0123456789") == std::string::npos;
    if (is_decimal && !text.starts_with('0') && CLI::detail::lexical_cast(text, value) &&
        value <= most)
      return "";
    return "Value " + text + " not in range 1 to " + std::to_string(most);
  };
}

inline void add_source_options(CLI::App& app, ModelOptions& options) {
  app.add_option("--config", options.config, "configuration of a checkpoint (default: beside it)")
      ->type_name("JSON");
  app.add_option("--state-dict", options.state_dict,
                 "dictionary of tensors to take from a checkpoint with several, as info names it")
      ->type_name("NAME");
  app.add_flag("--strict", options.strict,
               "fail where the configuration would only be warned of: misspelt keys, guesses");
}

inline void add_model_options(CLI::App& app, ModelOptions& options) {
  add_source_options(app, options);
  app.add_option("--labels", options.labels,
                 "names of the labels, one a line, or id,name in a .csv")
      ->type_name("FILE");
}

inline void add_precision_option(CLI::App& app, std::optional<Precision>& precision,
                                 const std::string& help) {
  app.add_option_function<std::string>(
         "--precision",
         [&precision](const std::string& name) { precision = precision_named(name); }, help)
      ->check(CLI::IsMember({"f32", "bf16", "int8"}).description(""))
      ->type_name("PRECISION");
}

inline void add_run_options(CLI::App& app, std::size_t& threads, std::size_t& batch,
                            Schedule& schedule) {
  app.add_option("--threads", threads, "threads (default: all)")
      ->check(from_one_to(most_threads))
      ->type_name("N");
  app.add_option("--batch", batch, "pictures at a time (default 1)")
      ->check(from_one_to(largest_batch))
      ->type_name("N");
  static const std::map<std::string, Schedule> schedules = {{"latency", Schedule::latency},
                                                            {"throughput", Schedule::throughput}};
  app.add_option_function<std::string>(
         "--schedule", [&schedule](const std::string& name) { schedule = schedules.at(name); },
         "latency: the threads share a picture's work (default); throughput: each has pictures of "
         "its own, and a batch at least one for each")
      ->check(CLI::IsMember(&schedules).description(""))
      ->type_name("SCHEDULE");
}

/// The options of the subcommands that tag: which model, how precise, and how it runs.
template <class Options>
void add_tagger_options(CLI::App& app, Options& options, const std::string& default_model) {
  options.model.model = default_model;
  auto* model = app.add_option("--model", options.model.model,
                               "model file or checkpoint (default: the bundled model)")
                    ->type_name("FILE");
  if (default_model.empty()) model->required();
  add_model_options(app, options.model);
  add_precision_option(app, options.model.precision,
                       "f32, bf16, or int8 of a calibrated model (default: the model's own)");
  add_run_options(app, options.threads, options.batch, options.schedule);
  app.add_flag_callback(
      "--no-orient", [&options] { options.orient = false; },
      "ignore EXIF orientation, as the reference does");
}

/// CLI::Range takes NaN for a number of every range.
template <class Number>
void add_fraction_option(CLI::App& app, const std::string& name, Number& number,
                         const std::string& help) {
  app.add_option(name, number, help)
      ->check([](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && value >= 0 && value <= 1
                   ? ""
                   : "must lie in 0..1";
      })
      ->type_name("0..1");
}

inline void add_tag_options(CLI::App& app, TagOptions& options, const std::string& default_model) {
  add_tagger_options(app, options, default_model);
  add_fraction_option(app, "--threshold", options.threshold,
                      "least score of a tag (default: the model's, else 0.5)");
  app.add_option(
         "--top-k", options.best,
         "the K best labels whatever their scores; with --threshold, those of them that reach it")
      ->check(from_one_to(most_labels))
      ->type_name("K");
  static const std::map<std::string, Format> formats = {
      {"text", Format::text}, {"jsonl", Format::jsonl}, {"csv", Format::csv}};
  app.add_option_function<std::string>(
         "--format", [&options](const std::string& name) { options.format = formats.at(name); },
         "text, jsonl or csv, where ; joins tags and is \\x3b within one (default text)")
      ->check(CLI::IsMember(&formats).description(""))
      ->type_name("FORMAT");
  app.add_option_function<std::string>(
         "--scores", [&options](const std::string&) { options.all_scores = true; },
         "all: write every label's score")
      ->check(CLI::IsMember({"all"}).description(""))
      ->type_name("all");
  app.add_option("--heat-maps", options.heat_maps,
                 "write where each tag was seen into this folder, as NAME.LABEL.png")
      ->type_name("DIR");
  app.add_option("--output", options.output,
                 "file for the results (default, and for -: standard output)")
      ->type_name("FILE");
  app.add_flag("--resume", options.resume,
               "go on with a jsonl or csv --output that an interrupted run left");
  app.add_option("PATH", options.paths,
                 "pictures, folders, or - for a list on standard input, each ended by LF, CR LF or "
                 "NUL; all behind -- are paths");
}

inline void add_eval_options(CLI::App& app, EvalOptions& options,
                             const std::string& default_model) {
  add_tagger_options(app, options, default_model);
  add_fraction_option(app, "--threshold", options.threshold,
                      "least score of a tag in CP to OF1 (default 0.5)");
  auto* coco = app.add_option("--coco", options.coco,
                              "annotations as COCO has them: categories named as the labels are")
                   ->type_name("JSON");
  auto* voc = app.add_option("--voc", options.voc, "folder with VOC's JPEGImages and ImageSets")
                  ->type_name("FOLDER")
                  ->excludes(coco);
  app.add_option("--pictures", options.pictures,
                 "COCO's pictures (default: ROOT/NAME for ROOT/annotations/instances_NAME.json)")
      ->type_name("FOLDER")
      ->needs(coco);
  app.add_option("--split", options.split, "list of VOC's pictures (default test)")
      ->type_name("NAME")
      ->needs(voc);
}

inline void add_bench_options(CLI::App& app, BenchOptions& options,
                              const std::string& default_model) {
  options.model.model = default_model;
  auto* model = app.add_option("MODEL", options.model.model,
                               "model file, checkpoint, or JSON description of one whose weights "
                               "are to be made up");
  if (default_model.empty()) model->required();
  add_source_options(app, options.model);
  add_precision_option(app, options.model.precision,
                       "f32, bf16, or int8 of a calibrated model (default: the model's own)");
  add_run_options(app, options.threads, options.batch, options.schedule);
  app.add_flag("--error", options.error,
               "instead of timing a model file, compare each layer's output with that of f32");
  app.add_option("--repeat", options.repetitions,
                 "inferences to choose the fastest of (default 10)")
      ->check(from_one_to(most_repetitions))
      ->type_name("N");
}

inline void add_convert_options(CLI::App& app, ConvertOptions& options) {
  app.add_option("IN", options.model.model, "checkpoint or model file")->required();
  app.add_option("OUT", options.output, "safetensors file to write")->required();
  add_model_options(app, options.model);
  add_precision_option(app, options.precision, "of the weights: f32, bf16, or int8");
  auto* calibrate =
      app.add_option("--calibrate", options.calibrate,
                     "pictures of the kind the model is for, to find int8's scales from")
          ->type_name("FOLDER");
  app.add_option("--pictures", options.pictures, "most pictures to calibrate with (default 128)")
      ->check(from_one_to(most_calibration_pictures))
      ->type_name("N")
      ->needs(calibrate);
  static const std::map<std::string, ScaleChoice> choices = {
      {"min-max", ScaleChoice::min_max},
      {"percentile", ScaleChoice::percentile},
      {"mse", ScaleChoice::mean_squared_error}};
  app.add_option_function<std::string>(
         "--scales", [&options](const std::string& name) { options.scales = choices.at(name); },
         "what int8 covers of an input's range: min-max, percentile or mse (default)")
      ->check(CLI::IsMember(&choices).description(""))
      ->type_name("CHOICE")
      ->needs(calibrate);
  add_fraction_option(app, "--error-budget", options.error_budget,
                      "most that all layers in int8 together may change the logits (rms, relative "
                      "to their spread); the others become bf16");
  app.add_flag("--packed", options.packed,
               "write the weights as this machine's instructions use them: loads at once");
}

/// Pictures in a batch, of which each thread is to have as many if each has its own.
inline std::size_t batch_for(Schedule schedule, std::size_t batch, std::size_t threads) {
  return schedule == Schedule::throughput ? (batch + threads - 1) / threads * threads : batch;
}

/// Whether CLI11 would take an argument for a list ([A,B]) or for the end of a subcommand's paths
/// (++), while everybody else takes it for the name of a file.
inline bool needs_shield(std::string_view argument) {
  return argument == "++" || (argument.starts_with('[') && argument.ends_with(']'));
}

inline void require_consistent(const ConvertOptions& options) {
  const bool is_int8 = options.precision == Precision::int8;
  if (is_int8 && options.calibrate.empty())
    throw Failure(ExitCode::usage, "--precision int8 needs --calibrate");
  if (!is_int8 && (!options.calibrate.empty() || options.error_budget))
    throw Failure(ExitCode::usage, "--calibrate and --error-budget are for --precision int8");
  if (options.output == "-")
    throw Failure(ExitCode::usage, "a model cannot be written to standard output");
  if (options.output.empty()) throw Failure(ExitCode::usage, "OUT is empty");
}

inline void require_consistent(const EvalOptions& options) {
  if (options.coco.empty() && options.voc.empty())
    throw Failure(ExitCode::usage, "--coco or --voc is required");
}

inline void require_consistent(const TagOptions& options) {
  if (options.paths.empty()) throw Failure(ExitCode::usage, "PATH is required");
  if (!options.resume) return;
  if (options.output.empty()) throw Failure(ExitCode::usage, "--resume needs --output");
  if (options.format == Format::text)
    throw Failure(ExitCode::usage, "--resume needs --format jsonl or csv");
}

}  // namespace detail

/// Reads the command line. `default_model` may be empty: then --model is required. Throws a Failure
/// with one line for what cannot be understood.
inline CommandLine parse_command_line(int count, const char* const* arguments,
                                      const std::string& default_model,
                                      const std::string& version) {
  CommandLine line;
  CLI::App app("q2l: which labels apply to a picture, by Query2Label models", "q2l");
  app.set_version_flag("--version", version);
  app.require_subcommand(1);

  CLI::App* tag = app.add_subcommand("tag", "tag pictures");
  detail::add_tag_options(*tag, line.tag, default_model);

  CLI::App* info = app.add_subcommand("info", "describe a model");
  auto* described = info->add_option("MODEL", line.info.model, "model file or checkpoint");
  if (default_model.empty()) described->required();
  line.info.model = default_model;
  detail::add_model_options(*info, line.info);
  info->add_flag("--measure", line.measure, "also tag a picture and print the memory in use then");

  CLI::App* convert =
      app.add_subcommand("convert", "turn a checkpoint into one self-contained model file");
  detail::add_convert_options(*convert, line.convert);

  CLI::App* eval = app.add_subcommand("eval", "compare a model's tags with annotated pictures");
  detail::add_eval_options(*eval, line.eval, default_model);

  CLI::App* bench = app.add_subcommand("bench", "time a model, stage by stage");
  detail::add_bench_options(*bench, line.bench, default_model);

  // CLI11 hands what follows "--" back to the program once a subcommand has its least number of
  // paths.
  const auto end = arguments + count;
  const auto rest = count > 1 && arguments[1] == std::string_view("tag")
                        ? std::find(arguments, end, std::string_view("--"))
                        : end;
  const auto subcommands = {tag, info, convert, eval, bench};
  const std::string first = count > 1 ? arguments[1] : "";
  if (!first.empty() && !first.starts_with('-') &&
      std::ranges::none_of(subcommands,
                           [&](const CLI::App* one) { return one->check_name(first); }))
    throw Failure(ExitCode::usage, "there is no subcommand '" + printable(first) +
                                       "'; there are tag, info, convert, eval and bench");
  std::vector<std::string> shielded;  // from last to first, as CLI11 takes them
  for (auto argument = rest; count > 0 && --argument != arguments;)
    shielded.push_back((detail::needs_shield(*argument) ? "./" : "") + std::string(*argument));
  try {
    app.parse(std::move(shielded));
    for (std::string& path : line.tag.paths)
      if (path.starts_with("./") && std::find(arguments, rest, path.substr(2)) != rest &&
          detail::needs_shield(path.substr(2)))
        path.erase(0, 2);
    for (auto path = rest == end ? end : rest + 1; path != end; ++path)
      line.tag.paths.push_back(*path == std::string_view("-") ? "./-" : *path);
    if (line.tag.output == "-") line.tag.output.clear();
  } catch (const CLI::CallForHelp&) {
    line.text = app.help();
    for (const CLI::App* chosen : subcommands)
      if (chosen->parsed() || chosen->get_help_ptr()->count() > 0) line.text = chosen->help("q2l");
    return line;
  } catch (const CLI::CallForVersion&) {
    line.text = version + "\n";
    return line;
  } catch (const CLI::ParseError& error) {
    throw Failure(ExitCode::usage, printable(error.what()));
  }
  if (tag->parsed()) {
    detail::require_consistent(line.tag);
    line.tag.batch = detail::batch_for(line.tag.schedule, line.tag.batch, line.tag.threads);
    line.action = CommandLine::Action::tag;
  } else if (eval->parsed()) {
    detail::require_consistent(line.eval);
    line.eval.batch = detail::batch_for(line.eval.schedule, line.eval.batch, line.eval.threads);
    line.action = CommandLine::Action::eval;
  } else if (bench->parsed()) {
    line.bench.batch = detail::batch_for(line.bench.schedule, line.bench.batch, line.bench.threads);
    line.action = CommandLine::Action::bench;
  } else if (convert->parsed()) {
    detail::require_consistent(line.convert);
    line.action = CommandLine::Action::convert;
  } else {
    line.action = CommandLine::Action::info;
  }
  return line;
}

}  // namespace q2l::command
