// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "q2l/load_tagger.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/picture_source.hpp"
#include "q2l/progress.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/machine_threads.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/image/preprocess.hpp"
#include "query2label/image/read_image.hpp"
#include "query2label/model/calibration.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/safetensors_writer.hpp"

namespace q2l::command {

/// Chooses the precision of each layer for `q2l convert --precision`, by running the model on
/// pictures, and converts weights.
class PrecisionConversion {
 public:
  explicit PrecisionConversion(const ConvertOptions& options) : options_(options) {}

  /// The plan: the first layer in f32, all others in the precision asked for, but for those that
  /// would damage the logits beyond the budget.
  [[nodiscard]] PrecisionPlan plan() {
    read_pictures();
    Calibration calibration;
    std::string first;
    run(PrecisionPlan(Precision::f32), &calibration, &first);
    PrecisionPlan plan = calibration.plan(options_.scales);
    if (options_.precision == Precision::bf16) {
      PrecisionPlan narrow(Precision::bf16);
      narrow.except(first, Precision::f32);
      layers_ = std::move(plan);
      return narrow;
    }
    layers_ = plan;
    if (options_.error_budget) {
      std::size_t done = 0;
      Progress progress(::isatty(STDERR_FILENO) == 1, plan.inputs().size() + 1);
      const auto damages = measure_damage(plan, [&](const PrecisionPlan& one) {
        progress.show(done++, 0);
        return run(one, nullptr, nullptr);
      });
      progress.hide();
      keep_within(plan, damages, *options_.error_budget);
      std::printf("%-60s %8s precision\n", "layer", "damage");
      for (const LayerDamage& damage : damages) {
        std::printf("%-60s %8.2e %s\n", damage.layer.c_str(), damage.error,
                    std::string(to_string(plan.settings(damage.layer).precision)).c_str());
      }
    }
    plan.except(first, Precision::f32);
    return plan;
  }

  /// Adds `entry` to `tensors`, narrowed if it holds the weights of a layer that `plan` narrows;
  /// what it takes is kept in `bytes`. Returns false if it is to be written as it is.
  bool narrow(const PrecisionPlan& plan, const std::string& name, const TensorEntry& entry,
              std::list<std::vector<std::byte>>& bytes, std::vector<TensorBytes>& tensors) const {
    const Precision precision = precision_of(plan, name);
    // Products over other than whole fours stay in f32 (ops::PackedWeights::precision_of).
    if (precision == Precision::f32 || entry.shape.size() < 2 || entry.shape[1] % 4 != 0)
      return false;
    const std::vector<float> values = entry.read<float>();
    const auto rows = static_cast<std::size_t>(entry.shape[0]);
    const std::size_t columns = values.size() / std::max<std::size_t>(rows, 1);
    if (precision == Precision::bf16) {
      std::vector<bfloat16> narrow(values.size());
      std::ranges::transform(values, narrow.begin(), to_bfloat16);
      tensors.push_back({name, Dtype::bf16, entry.shape, keep(std::span(narrow), bytes)});
      return true;
    }
    std::vector<std::int8_t> narrow(values.size());
    std::vector<float> scale(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::span<const float> row(values.data() + r * columns, columns);
      float largest = 0;
      for (const float x : row) largest = std::max(largest, std::abs(x));
      scale[r] = largest > 0 ? largest / 127 : 1.0f;
      for (std::size_t c = 0; c < columns; ++c) {
        narrow[r * columns + c] = static_cast<std::int8_t>(std::nearbyint(row[c] / scale[r]));
      }
    }
    tensors.push_back({name, Dtype::i8, entry.shape, keep(std::span(narrow), bytes)});
    tensors.push_back(
        {name + "_scale", Dtype::f32, {entry.shape[0]}, keep(std::span(scale), bytes)});
    return true;
  }

 private:
  /// Notes the first layer that runs, and lets another observer see all.
  class FirstLayer final : public LayerObserver {
   public:
    FirstLayer(LayerObserver* next, std::string* first) : next_(next), first_(first) {}
    void observe(std::string_view layer, Matrix<const float> in, Matrix<const float> out) override {
      if (first_->empty()) *first_ = layer;
      next_->observe(layer, in, out);
    }

   private:
    LayerObserver* next_;
    std::string* first_;
  };

  template <class T>
  static std::span<const std::byte> keep(std::span<const T> values,
                                         std::list<std::vector<std::byte>>& bytes) {
    const auto raw = std::as_bytes(values);
    return bytes.emplace_back(raw.begin(), raw.end());
  }
  template <class T>
  static std::span<const std::byte> keep(std::span<T> values,
                                         std::list<std::vector<std::byte>>& bytes) {
    return keep(std::span<const T>(values), bytes);
  }

  /// The widest of the products that read the tensor `name`; f32 where none does.
  [[nodiscard]] Precision precision_of(const PrecisionPlan& plan, const std::string& name) const {
    std::vector<std::string> products;
    if (const std::string_view suffix = ".in_proj_weight"; name.ends_with(suffix)) {
      const std::string prefix = name.substr(0, name.size() - suffix.size());
      for (const char* part :
           {".query", ".key", ".value", ".query_key", ".label_key", ".label_value"}) {
        products.push_back(prefix + part);
      }
    } else if (const std::string_view weight = ".weight"; name.ends_with(weight)) {
      products.push_back(name.substr(0, name.size() - weight.size()));
    }
    std::optional<Precision> widest;
    for (const std::string& product : products) {
      if (!layers_.inputs().contains(product)) continue;
      const Precision precision = plan.settings(product).precision;
      widest = widest ? std::min(*widest, precision) : precision;
    }
    return widest.value_or(Precision::f32);
  }

  void read_pictures() {
    const ModelFile file = open_model(options_.model);
    const std::size_t side = file.config.image_size;
    const std::size_t size = side * side * 3;
    if (options_.calibrate.empty()) {  // any input shows which layers there are
      pictures_.assign(size, 0.5f);
      return;
    }
    const std::vector<std::string> paths = chosen_paths();
    Progress progress(::isatty(STDERR_FILENO) == 1, paths.size());
    std::size_t count = 0;
    for (const std::string& path : paths) {
      try {
        const Image picture = read_image(path);
        pictures_.resize((count + 1) * size);
        preprocess_into(picture, side, file.config.normalization,
                        std::span(pictures_).subspan(count * size, size));
      } catch (const Error& error) {
        progress.hide();
        say(error.what());
        continue;
      }
      progress.show(++count, 0);
    }
    progress.hide();
    if (count == 0) throw Failure(ExitCode::usage, options_.calibrate + ": no pictures in it");
    constexpr std::size_t usual = 32;
    if (count < usual)
      say("warning: calibrated with few pictures: " + std::to_string(count) + "; " +
          std::to_string(usual) + " to 512 are usual");
  }

  /// As many pictures of the folder as are asked for, evenly spread over the order of their names:
  /// folders are often sorted by what pictures show.
  [[nodiscard]] std::vector<std::string> chosen_paths() const {
    bool asked = false;
    PictureSource source(
        [&]() -> std::optional<std::string> {
          if (std::exchange(asked, true)) return std::nullopt;
          return options_.calibrate;
        },
        {});
    std::vector<std::string> all;
    while (const auto found = source.next()) {
      if (found->error) {
        say(found->error->what());
      } else {
        all.push_back(found->path);
      }
    }
    const std::size_t count = std::min(all.size(), options_.pictures);
    std::vector<std::string> chosen;
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(all[i * all.size() / count]);
    return chosen;
  }

  std::vector<float> run(const PrecisionPlan& plan, LayerObserver* observer, std::string* first) {
    ModelFile file = open_model(options_.model);
    file.weights.set_precision(plan);
    const auto model = Query2Label<>::load(file.weights, file.config);
    ThreadPool pool(machine_threads());
    Session session(model, pool, pool.threads());
    std::optional<FirstLayer> watcher;
    if (observer) session.set_observer(&watcher.emplace(observer, first));
    const std::size_t side = file.config.image_size;
    const std::size_t size = side * side * 3;
    std::vector<float> logits;
    for (std::size_t at = 0; at < pictures_.size(); at += size) {
      const auto result = session.query(session.encode({pictures_.data() + at, 1, side, side, 3}));
      logits.insert(logits.end(), result.logits.begin(), result.logits.end());
    }
    return logits;
  }

  const ConvertOptions& options_;
  std::vector<float> pictures_;  ///< [N, S, S, 3]
  PrecisionPlan layers_;         ///< its inputs name every layer that ran
};

}  // namespace q2l::command
