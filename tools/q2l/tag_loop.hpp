// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "q2l/picture_source.hpp"
#include "q2l/progress.hpp"
#include "q2l/read_pictures.hpp"
#include "q2l/record.hpp"
#include "q2l/result_output.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/image.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {

/// What the loop needs from elsewhere.
struct TagSteps {
  /// Called from several threads at a time.
  std::function<ReadPicture(const std::string& path)> read;
  /// Scores and tags of each image, with maps if `illustrate` needs them; the same for an image
  /// whatever stands beside it.
  std::function<std::vector<Explanation>(std::span<const Image>)> explain;
  /// What else is made of a tagged picture; may be empty.
  std::function<void(const Image&, const FoundPicture&, const Explanation&)> illustrate;
  /// Tells the user, in one line, why a picture failed.
  std::function<void(const std::string&)> report;
  std::function<bool()> stopped;
  /// Makes `stopped` true, so that a source that waits for paths ends.
  std::function<void()> stop;
  /// Told of each picture in the source's order, those finished before too; may be empty. Called
  /// while others are illustrated.
  std::function<void(const FoundPicture&)> meet = {};
};

struct TagSummary {
  std::size_t tagged = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;  ///< finished by an earlier run
};

/// Tags the pictures of a source in its order, a batch at a time, and reads the next batch
/// meanwhile, on `readers` threads. A picture that fails costs one record and one message; the run
/// goes on. `Failure`s and output_io, of the output for example, end it.
class TagLoop {
 public:
  TagLoop(TagSteps steps, std::size_t batch, std::size_t readers, const RecordLines& lines,
          ResultOutput& output, Progress& progress)
      : steps_(std::move(steps)),
        batch_(batch),
        readers_(readers),
        lines_(lines),
        output_(output),
        progress_(progress) {}

  /// `finished` are the paths that have a record already, each as often as it has one.
  TagSummary run(PictureSource& source, std::unordered_multiset<std::string> finished) {
    const auto read_ahead = [&] {
      // Where no thread can be had, the batch is read when it is asked for.
      return std::async(std::launch::async | std::launch::deferred,
                        [&] { return read_batch(source, finished); });
    };
    Batch batch = read_batch(source, finished);
    while (!batch.entries.empty() && !steps_.stopped()) {
      std::future<Batch> next = read_ahead();
      try {
        write(batch);
      } catch (...) {
        steps_.stop();
        throw;  // the future's destructor waits for the reader
      }
      batch = next.get();
    }
    summary_.skipped += batch.skipped;
    return summary_;
  }

 private:
  struct Entry {
    FoundPicture found;
    int width = 0;
    int height = 0;
    std::optional<std::size_t> image{};  ///< its place among the images, if it could be read
  };
  struct Batch {
    std::vector<Entry> entries;
    std::vector<Image> images;
    std::size_t skipped = 0;
  };

  Batch read_batch(PictureSource& source, std::unordered_multiset<std::string>& finished) {
    if (source_failure_) std::rethrow_exception(std::exchange(source_failure_, nullptr));
    Batch batch;
    while (batch.entries.size() < batch_ && !steps_.stopped()) {
      std::optional<FoundPicture> found;
      try {
        found = source.next();
      } catch (...) {
        if (batch.entries.empty()) throw;
        source_failure_ = std::current_exception();  // when those before it have their records
        break;
      }
      if (!found) break;
      if (steps_.meet) steps_.meet(*found);
      if (const auto record = finished.find(found->path); record != finished.end()) {
        finished.erase(record);
        ++batch.skipped;
        continue;
      }
      batch.entries.push_back({std::move(*found)});
    }
    auto pictures = read_pictures(readers_, batch.entries.size(), [&](std::size_t i) {
      const FoundPicture& found = batch.entries[i].found;
      if (found.error) throw *found.error;
      return steps_.read(found.path);
    });
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      Entry& entry = batch.entries[i];
      if (ReadPicture* picture = std::get_if<ReadPicture>(&pictures[i])) {
        entry.width = picture->width;
        entry.height = picture->height;
        entry.image = batch.images.size();
        batch.images.push_back(std::move(picture->image));
      } else {
        entry.found.error = std::get<Error>(pictures[i]);
      }
    }
    return batch;
  }

  void write(Batch& batch) {
    summary_.skipped += batch.skipped;
    const std::vector<Explanation> explanations = explain(batch);
    for (Entry& entry : batch.entries) {
      std::string line;
      try {
        if (entry.found.error) throw *entry.found.error;
        const Image& image = batch.images[*entry.image];
        const Explanation own = explanations.empty() ? explain_alone(image, entry.found.path)
                                                     : explanations[*entry.image];
        if (steps_.illustrate) steps_.illustrate(image, entry.found, own);
        line = lines_.result({entry.found.path, entry.width, entry.height, own.tags, own.scores});
        ++summary_.tagged;
      } catch (const Error& error) {
        if (error.code() == ErrorCode::output_io) throw;  // the next picture's would fail, too
        progress_.hide();
        steps_.report(error.in_file(entry.found.path).what());
        line = lines_.failure(entry.found.path, error);
        ++summary_.failed;
      }
      progress_.hide();
      output_.write(line);
      progress_.show(summary_.skipped + summary_.tagged + summary_.failed, summary_.failed,
                     summary_.skipped);
    }
  }

  /// All images at once; nothing if that fails, so that each can be tried alone.
  std::vector<Explanation> explain(const Batch& batch) const {
    if (batch.images.empty()) return {};
    try {
      return steps_.explain(batch.images);
    } catch (const Error&) {
    } catch (const std::bad_alloc&) {
    }
    return {};
  }

  Explanation explain_alone(const Image& image, const std::string& path) const {
    try {
      return steps_.explain(std::span(&image, 1)).at(0);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::out_of_memory, "no memory to tag the picture", {.path = path});
    }
  }

  TagSteps steps_;
  std::size_t batch_;
  ThreadPool readers_;
  const RecordLines& lines_;
  ResultOutput& output_;
  Progress& progress_;
  TagSummary summary_;
  std::exception_ptr source_failure_;
};

}  // namespace q2l::command
