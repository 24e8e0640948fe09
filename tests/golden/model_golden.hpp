// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "golden/golden_report.hpp"
#include "query2label/core/counter_random.hpp"
#include "query2label/core/layer_observer.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/calibration.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/precision_plan.hpp"
#include "query2label/weights/weight_map.hpp"
#include "support/recipe.hpp"

namespace q2l::test {

/// The weights that a golden model file describes, made by the recipe as they are asked for.
inline WeightMap golden_weights(const nlohmann::json& file) {
  WeightMap weights;
  const auto seed = file.at("seed").get<std::uint64_t>();
  for (const nlohmann::json& tensor : file.at("tensors")) {
    const auto name = tensor.at(0).get<std::string>();
    const auto shape = tensor.at(1).get<std::vector<std::uint64_t>>();
    const double offset = tensor.at(2).get<double>();
    const double scale = tensor.at(3).get<double>();
    std::size_t count = 1;
    for (const std::uint64_t extent : shape) count *= static_cast<std::size_t>(extent);
    weights.add(name, shape, [=] { return fill(name, count, offset, scale, seed); });
  }
  return weights;
}

/// The file's input; or, of the same kind, input number `draw`, from the seeds that follow.
template <class T>
std::vector<T> golden_input(const nlohmann::json& file, std::size_t batch, std::size_t height,
                            std::size_t width, std::uint64_t draw = 0) {
  const nlohmann::json& input = file.at("input");
  return counter_images<T>(batch, height, width, input.at("offset").get<double>(),
                           input.at("scale").get<double>(),
                           file.at("seed").get<std::uint64_t>() + draw);
}

namespace detail {

/// The largest error of a quantity at the file's samples, and of its mean and deviation, which are
/// scaled to weigh like samples. `value(i)` is element i in the reference's order.
template <class Value>
double tensor_error(const nlohmann::json& expected, std::size_t count, Value value) {
  std::size_t expected_count = 1;
  for (const nlohmann::json& extent : expected.at("shape")) {
    expected_count *= extent.get<std::size_t>();
  }
  if (count != expected_count) return std::numeric_limits<double>::infinity();
  double sum = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < count; ++i) sum += value(i);
  const double mean = sum / static_cast<double>(count);
  for (std::size_t i = 0; i < count; ++i) squares += (value(i) - mean) * (value(i) - mean);
  const double std = std::sqrt(squares / static_cast<double>(count));
  double error = worst(std::abs(mean - expected.at("mean").get<double>()),
                       std::abs(std - expected.at("std").get<double>()));
  for (const nlohmann::json& sample : expected.at("samples")) {
    const auto index = sample.at(0).get<std::size_t>();
    if (index >= count) return std::numeric_limits<double>::infinity();
    error = worst(error, std::abs(value(index) - sample.at(1).get<double>()));
  }
  return error;
}

}  // namespace detail

/// The logits [draws, N, K] of the model of a golden file in the precisions of `plan` for its input
/// and others of its kind; `observer`, if not null, sees the layers.
template <class T>
std::vector<double> golden_logits(const nlohmann::json& file, std::size_t workers,
                                  const PrecisionPlan& plan, std::size_t draws,
                                  LayerObserver* observer = nullptr) {
  WeightMap weights = golden_weights(file);
  weights.set_precision(plan);
  const ModelConfig config = make_model_config(file.at("config"), weights);
  const auto model = Query2Label<T>::load(weights, config);
  const auto shape = file.at("input").at("shape").get<std::vector<std::size_t>>();
  ThreadPool pool(workers);
  Session session(model, pool, workers);
  session.set_observer(observer);
  std::vector<double> logits;
  for (std::size_t draw = 0; draw < draws; ++draw) {
    const std::vector<T> pixels =
        golden_input<T>(file, shape.at(0), shape.at(2), shape.at(3), draw);
    const auto result =
        session.query(session.encode({pixels.data(), shape.at(0), shape.at(2), shape.at(3), 3}));
    logits.insert(logits.end(), result.logits.begin(), result.logits.end());
  }
  return logits;
}

/// Compares the logits in a narrow precision with the reference's. The yardstick is the model in
/// double with the operands of its products rounded in the same way, and nothing else: ours may be
/// 1.5 times as far off, in rms. Errors are relative to the spread of the logits.
///
/// The logits of one input share their error, which the order of a sum changes by up to half
/// (R101), so both errors are taken over several inputs. The file has the first one's answers; the
/// double model gives those of the others.
inline GoldenReport check_precision_golden(const nlohmann::json& file, std::size_t workers,
                                           Precision precision) {
  constexpr std::size_t draws = 8;
  const PrecisionPlan exact(Precision::f32);
  PrecisionPlan plan(precision);
  if (precision == Precision::int8) {
    Calibration calibration;
    golden_logits<float>(file, workers, exact, draws, &calibration);
    plan = calibration.plan(ScaleChoice::min_max);
  }
  std::vector<double> expected = golden_logits<double>(file, workers, exact, draws);
  auto known = expected.begin();
  for (const nlohmann::json& image : file.at("expect").at("logits")) {
    for (const nlohmann::json& logit : image) *known++ = logit.get<double>();
  }
  GoldenReport report;
  const double yardstick =
      relative_error(golden_logits<double>(file, workers, plan, draws), expected);
  report.add("logits, rms of the spread,",
             relative_error(golden_logits<float>(file, workers, plan, draws), expected),
             1.5 * yardstick);
  return report;
}

/// Builds the model of a golden file, runs it with `workers` threads, and compares every quantity.
/// Bounds (golden/README.md): the larger of a floor and 3 times PyTorch's own float32 error; floors
/// 1e-4 for logits, 1e-5 for attention, 1e-4 of its own deviation for each other quantity.
template <class T>
GoldenReport check_model_golden(const nlohmann::json& file, std::size_t workers) {
  WeightMap weights = golden_weights(file);
  const ModelConfig config = make_model_config(file.at("config"), weights);
  const auto model = Query2Label<T>::load(weights, config);

  const auto shape = file.at("input").at("shape").get<std::vector<std::size_t>>();
  const std::size_t batch = shape.at(0), height = shape.at(2), width = shape.at(3);
  const std::vector<T> pixels = golden_input<T>(file, batch, height, width);
  ThreadPool pool(workers);
  Session session(model, pool, workers);
  const std::size_t grid_height = height / model.stride(), grid_width = width / model.stride();
  const std::size_t tokens = grid_height * grid_width;
  const std::size_t channels = model.backbone_channels();
  const std::size_t d = model.width(), labels = model.labels();
  AlignedBuffer<T> features(batch * tokens * channels);
  const Memory<T> memory =
      session.encode({pixels.data(), batch, height, width, 3},
                     {features.data(), batch, grid_height, grid_width, channels});
  AlignedBuffer<T> decoded(batch * labels * d);
  QueryOptions options;
  options.attention_maps = true;
  const QueryResult<T> result =
      session.query(memory, options, Matrix<T>{decoded.data(), batch * labels, d});

  const nlohmann::json& expect = file.at("expect");
  const nlohmann::json& pytorch = file.at("float32_error_of_pytorch");
  GoldenReport report;
  const auto add = [&](const std::string& quantity, double error, double floor) {
    report.add(quantity, error, std::max(floor, 3.0 * pytorch.at(quantity).get<double>()));
  };

  double logit_error = 0.0;
  const nlohmann::json& logits = expect.at("logits");
  if (logits.size() != batch || logits.at(0).size() != labels) {
    logit_error = std::numeric_limits<double>::infinity();
  } else {
    for (std::size_t n = 0; n < batch; ++n) {
      for (std::size_t k = 0; k < labels; ++k) {
        logit_error = worst(logit_error, std::abs(static_cast<double>(result.image_logits(n)[k]) -
                                                  logits.at(n).at(k).get<double>()));
      }
    }
  }
  add("logits", logit_error, 1e-4);

  const auto add_tensor = [&](const std::string& quantity, std::size_t count, auto value) {
    if (!expect.contains(quantity)) return;
    const nlohmann::json& expected = expect.at(quantity);
    add(quantity, detail::tensor_error(expected, count, value),
        1e-4 * expected.at("std").get<double>());
  };
  add_tensor("features", features.size(), [&](std::size_t i) {  // [N, C, T]
    const std::size_t n = i / tokens / channels, c = i / tokens % channels, t = i % tokens;
    return static_cast<double>(features[(n * tokens + t) * channels + c]);
  });
  add_tensor("memory", memory.tokens.size(), [&](std::size_t i) {  // [T, N, D]
    const std::size_t t = i / d / batch, n = i / d % batch;
    return static_cast<double>(memory.tokens[(n * tokens + t) * d + i % d]);
  });
  add_tensor("decoded", decoded.size(), [&](std::size_t i) {  // [1, K, N, D]
    const std::size_t k = i / d / batch, n = i / d % batch;
    return static_cast<double>(decoded[(n * labels + k) * d + i % d]);
  });

  double attention_error = 0.0;
  for (const nlohmann::json& expected : expect.at("attention")) {
    const std::vector<T> map = result.mean_map(expected.at("image").get<std::size_t>(),
                                               expected.at("layer").get<std::size_t>(),
                                               expected.at("label").get<std::size_t>());
    const nlohmann::json& values = expected.at("map");
    if (values.size() != map.size()) attention_error = std::numeric_limits<double>::infinity();
    for (std::size_t t = 0; t < map.size() && t < values.size(); ++t) {
      attention_error = worst(attention_error,
                              std::abs(static_cast<double>(map[t]) - values.at(t).get<double>()));
    }
  }
  add("attention", attention_error, 1e-5);
  return report;
}

}  // namespace q2l::test
