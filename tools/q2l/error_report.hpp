// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "q2l/escape.hpp"
#include "q2l/load_tagger.hpp"
#include "q2l/options.hpp"
#include "query2label/core/counter_random.hpp"
#include "query2label/core/layer_observer.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/calibration.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"

namespace q2l::command {

/// Keeps what every layer puts out, in the order in which they run.
class OutputRecorder final : public LayerObserver {
 public:
  void observe(std::string_view layer, Matrix<const float>, Matrix<const float> out) override {
    std::vector<float>& values = outputs_.emplace_back(layer, std::vector<float>()).second;
    for (std::size_t r = 0; r < out.rows; ++r) {
      values.insert(values.end(), out.row(r), out.row(r) + out.columns);
    }
  }
  [[nodiscard]] const std::vector<std::pair<std::string, std::vector<float>>>& outputs() const {
    return outputs_;
  }

 private:
  std::vector<std::pair<std::string, std::vector<float>>> outputs_;
};

/// Runs a model in f32 and in its own (or the chosen) precision on the same made-up picture and
/// prints, layer by layer, how far the outputs have come apart: the rms of their difference
/// relative to their standard deviation, which holds what layers before have added.
inline void report_errors(const BenchOptions& options) {
  ThreadPool pool(options.threads);
  const auto run = [&](std::optional<Precision> precision, OutputRecorder& recorder) {
    ModelFile file = open_model(options.model, {}, precision);
    const PrecisionPlan plan = file.weights.precision();
    const auto model = Query2Label<>::load(file.weights, file.config);
    const std::size_t side = file.config.image_size;
    const std::vector<float> values = counter_random("input", side * side * 3, 0.0, 1.0, 1);
    Session session(model, pool, options.threads);
    session.set_observer(&recorder);
    const auto logits = session.query(session.encode({values.data(), 1, side, side, 3})).logits;
    return std::tuple(plan, logits, file.config);
  };
  OutputRecorder wide, narrow;
  const auto expected = std::get<1>(run(Precision::f32, wide));
  const auto [plan, logits, config] = run(options.model.precision, narrow);
  check_config(options.model, config);
  std::printf("%-60s %9s %9s\n", "layer", "precision", "error");
  for (std::size_t i = 0; i < wide.outputs().size(); ++i) {
    const auto& [layer, values] = wide.outputs()[i];
    std::printf("%-60s %9s %9.1e\n", escape_line(layer).c_str(),
                std::string(to_string(plan.settings(layer).precision)).c_str(),
                relative_error(narrow.outputs()[i].second, values));
  }
  std::printf("%-60s %9s %9.1e\n", "logits", "", relative_error(logits, expected));
}

}  // namespace q2l::command
