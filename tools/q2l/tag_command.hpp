// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "q2l/heat_map_files.hpp"
#include "q2l/interrupt.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/path_list.hpp"
#include "q2l/picture_source.hpp"
#include "q2l/progress.hpp"
#include "q2l/read_pictures.hpp"
#include "q2l/record.hpp"
#include "q2l/result_output.hpp"
#include "q2l/resume.hpp"
#include "q2l/run_record.hpp"
#include "q2l/tag_loop.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/image/heat_map.hpp"
#include "query2label/image/png_encode.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {
namespace detail {

/// Goes through the arguments; "-" stands for the paths on standard input, until `stopped`.
inline PictureSource::NextPath paths_of(const std::vector<std::string>& arguments,
                                        std::function<bool()> stopped) {
  return [&arguments, stopped = std::move(stopped), at = std::size_t{0},
          list = std::optional<PathList>()]() mutable -> std::optional<std::string> {
    while (true) {
      if (list) {
        if (auto path = list->next()) return path;
        list.reset();
      }
      if (at == arguments.size()) return std::nullopt;
      const std::string& argument = arguments[at++];
      if (argument != "-") return argument;
      list.emplace(STDIN_FILENO, stopped);
    }
  };
}

/// The number of pictures, for the progress line; nothing if it is not shown or cannot be known
/// beforehand.
inline std::optional<std::size_t> count_pictures(const TagOptions& options,
                                                 const std::set<FileIdentity>& excluded) {
  if (std::ranges::find(options.paths, "-") != options.paths.end()) return std::nullopt;
  PictureSource source(paths_of(options.paths, interrupted), excluded);
  std::size_t count = 0;
  while (!interrupted() && source.next()) ++count;
  return count;
}

/// Scores and tags of each image.
inline std::vector<Explanation> tag_images(const Tagger& tagger, std::span<const Image> images) {
  std::vector<Explanation> out;
  for (std::vector<float>& scores : tagger.scores(images)) {
    std::vector<Tag> tags = tagger.rank(scores);
    out.push_back({std::move(scores), std::move(tags), {}});
  }
  return out;
}

/// Writes a picture for each tag, where it was seen in `image`, to the file that `path_for` names,
/// on the tagger's threads.
template <class PathFor>
void write_heat_maps(const Tagger& tagger, const Image& image, const Explanation& seen,
                     PathFor&& path_for) {
  std::vector<std::string> paths;
  for (const Tag& tag : seen.tags) paths.push_back(path_for(tag.label));
  parallel_for(tagger.runner(), tagger.threads(), paths.size(), [&](std::size_t i, std::size_t) {
    const Tag& tag = seen.tags[i];
    const AttentionMap& map = seen.maps[i];
    write_png(paths[i],
              draw_heat_map(image, map.values, map.height, map.width, tag.label, tag.score));
  });
}

inline void report_resumed(const FinishedWork& work, const std::string& output) {
  if (work.torn_bytes > 0)
    say(output + ": cut off an incomplete last line of " + std::to_string(work.torn_bytes) +
        " bytes");
  if (work.foreign_lines == 1)
    say(output + ": line " + std::to_string(work.first_foreign_line) +
        " is not a record; it stays as it is");
  if (work.foreign_lines > 1)
    say(output + ": " + std::to_string(work.foreign_lines) + " lines, the first of them line " +
        std::to_string(work.first_foreign_line) + ", are not records; they stay as they are");
}

}  // namespace detail

/// Tags pictures as the options say and returns the exit status, that of a resumed run for all of
/// its output.
inline int run_tag(const TagOptions& options) {
  finish_batch_on_signals();
  TaggerOptions ranking{.best = options.best};
  if (options.threshold) ranking.thresholds = {*options.threshold};
  const Tagger tagger = load_tagger(options, std::move(ranking));
  std::set<FileIdentity> excluded;
  const auto exclude = [&](const std::string& path) {
    if (const auto identity = identity_of(path)) excluded.insert(*identity);
  };
  for (const std::string* const own : {&options.output, &options.heat_maps})
    if (!own->empty()) exclude(*own);
  for (const std::string& path : options.paths)
    if (const auto identity = identity_of(path); identity && excluded.contains(*identity))
      throw Failure(ExitCode::usage, path + ": is the --output or the --heat-maps folder as well");

  const RecordLines lines(options.format, tagger.labels(), options.all_scores);
  ResultOutput output =
      options.output.empty() ? ResultOutput() : ResultOutput(options.output, options.resume);
  if (!options.output.empty()) exclude(options.output);
  std::optional<HeatMapFiles> heat_maps;
  if (!options.heat_maps.empty()) exclude(heat_maps.emplace(options.heat_maps).folder());

  const bool keeps_record = output.is_regular() && options.format != Format::text;
  const bool is_ours = keeps_record && keep_run_record(output, describe_run(options, tagger));
  FinishedWork finished;
  if (options.resume) finished = resume_work(output, lines, is_ours);
  detail::report_resumed(finished, output.name());
  if (!finished.heading) output.write(lines.heading());

  const bool on_terminal = ::isatty(STDERR_FILENO) == 1;
  Progress progress(on_terminal,
                    on_terminal ? detail::count_pictures(options, excluded) : std::nullopt);
  std::atomic<bool> output_failed{false};
  const auto stopped = [&] { return output_failed || interrupted(); };
  TagSteps steps{
      .read =
          [&](const std::string& path) {
            Image image = read_image(path, {.apply_orientation = options.orient});
            return heat_maps ? ReadPicture::whole(std::move(image))
                             : ReadPicture::shrunk(image, tagger.config().image_size);
          },
      .explain = [&](std::span<const Image> images) { return detail::tag_images(tagger, images); },
      .illustrate = {},
      .report = say,
      .stopped = stopped,
      .stop = [&] { output_failed = true; }};
  if (heat_maps) {
    steps.meet = [&](const FoundPicture& picture) { heat_maps->reserve(picture); };
    steps.explain = [&](std::span<const Image> images) {
      std::vector<Explanation> seen;
      for (const Image& image : images) seen.push_back(tagger.explain(image));
      return seen;
    };
    steps.illustrate = [&](const Image& image, const FoundPicture& picture,
                           const Explanation& seen) {
      detail::write_heat_maps(tagger, image, seen, [&](std::string_view label) {
        return heat_maps->path_for(picture, label);
      });
    };
  }
  PictureSource source(detail::paths_of(options.paths, stopped), excluded);
  const std::size_t readers = std::min(options.batch, options.threads);
  const TagSummary summary =
      TagLoop(std::move(steps), options.batch, readers, lines, output, progress)
          .run(source, std::move(finished.paths));
  progress.hide();
  output.finish();

  const std::size_t seen = summary.tagged + summary.failed;
  if (interrupted()) {
    say("stopped after " + std::to_string(seen) + " pictures");
    return interrupted_status();
  }
  if (seen + summary.skipped == 0) say("no pictures found");
  if (summary.failed > 0)
    say(std::to_string(summary.failed) + " of " + std::to_string(seen) + " pictures failed");
  if (finished.failed > 0)
    say(std::to_string(finished.failed) +
        " failed before this run was resumed; only what has no line is tried again");
  const bool all_tagged = summary.failed + finished.failed == 0;
  return static_cast<int>(all_tagged ? ExitCode::done : ExitCode::some_failed);
}

}  // namespace q2l::command
