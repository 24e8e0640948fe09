// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "golden/golden_report.hpp"
#include "query2label/core/precision.hpp"

namespace q2l::test {

/// Does what a golden file of any kind (a model, resize, metrics) describes, with `workers`
/// threads, and compares; models in `precision`, where narrow ones are compared by their logits
/// alone. Throws std::exception when the file is of no known kind or cannot be
/// followed.
GoldenReport check_golden(const nlohmann::json& file, std::size_t workers,
                          Precision precision = Precision::f32);

/// The tokens [N T, D] that a model's golden file describes, encoded from its input.
std::vector<float> golden_memory(const nlohmann::json& file);

}  // namespace q2l::test
