// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/fma_peak.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/multiply_adds.hpp"
#include "q2l/options.hpp"
#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/counter_random.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/core/schedule.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/calibration.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/precision_plan.hpp"

namespace q2l::command {

/// Seconds that an inference and each part of it took.
struct StageTimes {
  double backbone = 0;
  double encoder = 0;  ///< with the input projection
  double decoder = 0;  ///< with the head
  double total = 0;
};

/// The least of each over the runs: `total` is that of the fastest run, not a sum.
inline StageTimes best_of(const std::vector<StageTimes>& runs) {
  constexpr double never = std::numeric_limits<double>::infinity();
  StageTimes best{never, never, never, never};
  for (const StageTimes& run : runs) {
    best.backbone = std::min(best.backbone, run.backbone);
    best.encoder = std::min(best.encoder, run.encoder);
    best.decoder = std::min(best.decoder, run.decoder);
    best.total = std::min(best.total, run.total);
  }
  return best;
}

/// A line of the table: `count` multiply-adds in `seconds`, beside `peak` operations a second.
inline std::string stage_line(std::string_view stage, double seconds, std::uint64_t count,
                              double peak) {
  const double operations = 2.0 * static_cast<double>(count);
  char line[128];
  std::snprintf(line, sizeof line, "%-24.*s %9.1f %9.2f %9.1f %8.0f %%",
                static_cast<int>(stage.size()), stage.data(), seconds * 1e3,
                static_cast<double>(count) / 1e9, operations / seconds / 1e9,
                100 * operations / seconds / peak);
  return line;
}

namespace detail {

using BenchClock = std::chrono::steady_clock;

inline double seconds_since(BenchClock::time_point start) {
  return std::chrono::duration<double>(BenchClock::now() - start).count();
}

/// A backbone that remembers how long its last run on this thread took.
template <class T, class Arch>
class TimedBackbone {
 public:
  using Shape = BackboneShape;
  static inline thread_local double seconds = 0;  ///< of all pictures since it was set to 0

  static TimedBackbone load(WeightMap& weights, const Shape& shape) {
    TimedBackbone timed;
    timed.backbone_ = AnyBackbone<T, Arch>::load(weights, shape);
    return timed;
  }
  template <class Self, class Visitor>
  static void visit_buffers(Self& self, Visitor& visit) {
    self.backbone_.visit_buffers(self.backbone_, visit);
  }
  [[nodiscard]] std::size_t channels() const noexcept { return backbone_.channels(); }
  [[nodiscard]] std::size_t stride() const noexcept { return backbone_.stride(); }
  void forward(const Context& context, FeatureMap<const T> image, FeatureMap<T> features) const {
    const BenchClock::time_point start = BenchClock::now();
    backbone_.forward(context, image, features);
    seconds += seconds_since(start);
  }

 private:
  AnyBackbone<T, Arch> backbone_;
};

using TimedModel = Query2Label<float, simd::DefaultArch, TimedBackbone>;

/// A model without a weight file: `path` is a JSON description of one (`config`, `seed`, and
/// `tensors` as [name, shape, offset, scale]), whose weights are made up as it says.
inline TimedModel load_described_model(const std::string& path, const PrecisionPlan& plan,
                                       const WeightOptions& weight_options) {
  const JsonDocument document = q2l::detail::read_config_file(path, {});
  const nlohmann::json& description = *document;
  WeightMap weights(weight_options);
  try {
    const auto seed = description.at("seed").get<std::uint64_t>();
    for (const nlohmann::json& tensor : description.at("tensors")) {
      const auto name = tensor.at(0).get<std::string>();
      const auto shape = tensor.at(1).get<WeightMap::Shape>();
      const auto count = static_cast<std::size_t>(count_elements(shape, name));
      weights.add(name, shape,
                  [=, offset = tensor.at(2).get<double>(), scale = tensor.at(3).get<double>()] {
                    return counter_random(name, count, offset, scale, seed);
                  });
    }
    weights.set_precision(plan);
    return TimedModel::load(weights, make_model_config(description.at("config"), weights));
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::bad_config, "this does not describe a model",
                {.path = path, .expected = "config, seed and tensors"});
  }
}

/// Pictures of noise, [N, S, S, 3].
class MadeUpPictures {
 public:
  MadeUpPictures(std::size_t batch, std::size_t side)
      : batch_(batch),
        side_(side),
        values_(counter_random("input", batch * side * side * 3, 0.0, 1.0, 1)) {}
  [[nodiscard]] FeatureMap<const float> images() const noexcept {
    return {values_.data(), batch_, side_, side_, 3};
  }
  [[nodiscard]] FeatureMap<const float> image(std::size_t n) const noexcept {
    return {values_.data() + n * side_ * side_ * 3, 1, side_, side_, 3};
  }

 private:
  std::size_t batch_, side_;
  std::vector<float> values_;
};

/// int8 with the ranges that a described model has on the picture it will be timed with.
inline PrecisionPlan calibrate_described_model(const std::string& path,
                                               const WeightOptions& weight_options) {
  const TimedModel model =
      load_described_model(path, PrecisionPlan(Precision::f32), weight_options);
  const MadeUpPictures picture(1, model.config().image_size);
  Calibration calibration;
  Session session(model, *weight_options.runner, weight_options.threads);
  session.set_observer(&calibration);
  static_cast<void>(session.query(session.encode(picture.images())));
  return calibration.plan(ScaleChoice::min_max);
}

inline TimedModel load_timed_model(const ModelOptions& options,
                                   const WeightOptions& weight_options) {
  if (std::filesystem::path(options.model).extension() == ".json") {
    const Precision precision = options.precision.value_or(Precision::f32);
    return load_described_model(options.model,
                                precision == Precision::int8
                                    ? calibrate_described_model(options.model, weight_options)
                                    : PrecisionPlan(precision),
                                weight_options);
  }
  ModelFile file = open_model(options, weight_options, options.precision);
  check_config(options, file.config);
  return TimedModel::load(file.weights, file.config);
}

}  // namespace detail

/// Times a model per stage and prints a table; of pictures side by side only all stages together.
inline void run_bench(const BenchOptions& options) {
  ThreadPool pool(options.threads);
  const detail::BenchClock::time_point load_start = detail::BenchClock::now();
  const detail::TimedModel model =
      detail::load_timed_model(options.model, {.threads = options.threads, .runner = &pool});
  const double load_seconds = detail::seconds_since(load_start);
  const std::size_t side = model.config().image_size;
  const detail::MadeUpPictures pictures(options.batch, side);

  const bool apart = options.schedule == Schedule::throughput;
  std::vector<Session<detail::TimedModel>> sessions;
  for (std::size_t i = 0; i < (apart ? options.threads : 1); ++i)
    sessions.emplace_back(model, pool, apart ? 1 : options.threads);
  const auto run = [&] {
    const auto start = detail::BenchClock::now();
    StageTimes times;
    if (apart) {
      parallel_for(pool, options.threads, options.batch, [&](std::size_t n, std::size_t worker) {
        Session<detail::TimedModel>& session = sessions[worker];
        static_cast<void>(session.query(session.encode(pictures.image(n))));
      });
    } else {
      double& backbone_seconds = detail::TimedBackbone<float, simd::DefaultArch>::seconds;
      backbone_seconds = 0;
      const Memory<float> memory = sessions.front().encode(pictures.images());
      const double encoded = detail::seconds_since(start);
      static_cast<void>(sessions.front().query(memory));
      times.backbone = backbone_seconds;
      times.encoder = encoded - times.backbone;
      times.decoder = detail::seconds_since(start) - encoded;
    }
    times.total = detail::seconds_since(start);
    return times;
  };
  const double first_seconds = run().total;
  std::vector<StageTimes> runs;
  double peak = 0;  // the machine's speed varies: it is measured between the runs, too
  for (std::size_t i = 0; i < options.repetitions; ++i) {
    peak = std::max(peak, measure_fma_peak(pool, options.threads));
    runs.push_back(run());
  }

  const StageTimes best = best_of(runs);
  MultiplyAdds count = count_multiply_adds(model.config(), model.backbone_channels());
  for (std::uint64_t* part : {&count.backbone, &count.encoder, &count.decoder})
    *part *= options.batch;
  std::printf("%s: %s, %zu x %zu, %zu labels\n", escape_line(options.model.model).c_str(),
              model.config().backbone_name.c_str(), side, side, model.labels());
  std::printf("%s, threads %zu, batch %zu%s, best of %zu; multiply-adds alone reach %.1f GFLOP/s\n",
              simd::DefaultArch::name(), options.threads, options.batch,
              apart ? " side by side" : "", options.repetitions, peak / 1e9);
  double scratch = 0;
  for (const auto& session : sessions) scratch += static_cast<double>(session.workspace_bytes());
  std::printf("loaded in %.2f s, first inference %.1f ms, scratch %.1f MB\n\n", load_seconds,
              first_seconds * 1e3, scratch / 1e6);
  std::printf("%-24s %9s %9s %9s %10s\n", "stage", "ms", "GMAC", "GFLOP/s", "of peak");
  const auto print = [&](std::string_view stage, double seconds, std::uint64_t operations) {
    std::puts(stage_line(stage, seconds, operations, peak).c_str());
  };
  if (!apart) {
    print("backbone", best.backbone, count.backbone);
    print("projection and encoder", best.encoder, count.encoder);
    print("decoder and head", best.decoder, count.decoder);
  }
  print("all", best.total, count.total());
}

}  // namespace q2l::command
