// SPDX-License-Identifier: MIT
#include "golden/check_golden.hpp"

#include <stdexcept>
#include <vector>

#include "golden/metrics_golden.hpp"
#include "golden/model_golden.hpp"
#include "golden/resize_golden.hpp"

namespace q2l::test {

GoldenReport check_golden(const nlohmann::json& file, std::size_t workers, Precision precision) {
  if (file.is_object() && file.contains("tensors")) {
    return precision == Precision::f32 ? check_model_golden<float>(file, workers)
                                       : check_precision_golden(file, workers, precision);
  }
  if (file.is_object() && file.contains("cases") && file["cases"].is_array() &&
      !file["cases"].empty()) {
    const nlohmann::json& first = file["cases"][0];
    GoldenReport report;
    if (first.contains("to_width")) {
      const ResizeGoldenErrors errors = check_resize_golden(file);
      report.add("samples", errors.largest_sample_error, 0.0);
      report.add("wrong checksums", static_cast<double>(errors.wrong_checksums), 0.0);
      return report;
    }
    if (first.contains("mAP")) {
      const MetricsGoldenErrors errors = check_metrics_golden(file);
      report.add("average precision", errors.average_precision, metrics_golden_bound);
      report.add("precision and recall", errors.precision_recall, metrics_golden_bound);
      return report;
    }
  }
  throw std::runtime_error("neither a model nor a resize nor a metrics golden file");
}

std::vector<float> golden_memory(const nlohmann::json& file) {
  WeightMap weights = golden_weights(file);
  const ModelConfig config = make_model_config(file.at("config"), weights);
  const auto model = Query2Label<float>::load(weights, config);
  const auto shape = file.at("input").at("shape").get<std::vector<std::size_t>>();
  const std::vector<float> pixels =
      golden_input<float>(file, shape.at(0), shape.at(2), shape.at(3));
  SerialRunner runner;
  Session session(model, runner, 1);
  const Memory<float> memory =
      session.encode({pixels.data(), shape.at(0), shape.at(2), shape.at(3), 3});
  return {memory.tokens.data(), memory.tokens.data() + memory.tokens.size()};
}

}  // namespace q2l::test
