// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "query2label/core/counter_random.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/is_finite.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/session.hpp"

namespace q2l {

/// The logits that `model` answers to the input of `test`.
template <class Model>
std::vector<typename Model::Scalar> self_test_answer(const Model& model, const SelfTest& test,
                                                     TaskRunner& runner, std::size_t workers) {
  using T = typename Model::Scalar;
  const std::vector<T> image =
      counter_images<T>(1, test.height, test.width, test.offset, test.scale, test.seed);
  Session session(model, runner, workers);
  return session.query(session.encode({image.data(), 1, test.height, test.width, 3})).logits;
}

/// Runs the input that a model file carries and returns the largest difference to the logits it
/// carries. Throws Error self_test_failed when that exceeds the bound it carries, or the numbers
/// of logits differ; bad_config when the input is larger than the configured pictures and than
/// 1024 x 1024, so that a small file cannot ask for much memory, or of sides that are no multiples
/// of the stride.
template <class Model>
double run_self_test(const Model& model, const SelfTest& test, TaskRunner& runner,
                     std::size_t workers) {
  if (test.logits.size() != model.labels()) {
    throw Error(ErrorCode::self_test_failed, "the self-test is another model's",
                {.expected = std::to_string(model.labels()) + " logits",
                 .actual = std::to_string(test.logits.size())});
  }
  // A configuration given beside the file may ask for smaller pictures than the file's own.
  const std::size_t side = std::max<std::size_t>(model.config().image_size, 1024);
  const std::size_t stride = model.stride();
  for (const std::size_t extent : {test.height, test.width}) {
    if (extent > 0 && extent <= side && extent % stride == 0) continue;
    throw Error(ErrorCode::bad_config, "the self-test's input is not of a size for this model",
                {.subject = "self_test",
                 .expected = "height and width that are multiples of " + std::to_string(stride) +
                             ", at most " + std::to_string(side),
                 .actual = std::to_string(test.height) + " x " + std::to_string(test.width)});
  }
  const auto answer = self_test_answer(model, test, runner, workers);
  double largest = 0.0;
  for (std::size_t k = 0; k < test.logits.size(); ++k) {
    const double difference = std::abs(static_cast<double>(answer[k]) - test.logits[k]);
    if (!is_finite(answer[k]) || difference > test.bound) {
      throw Error(ErrorCode::self_test_failed, "the model does not answer as its file says",
                  {.subject = "label " + std::to_string(k),
                   .expected = std::to_string(test.logits[k]),
                   .actual = std::to_string(answer[k])});
    }
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace q2l
