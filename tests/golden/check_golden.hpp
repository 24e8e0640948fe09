// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>

#include "golden/golden_report.hpp"

namespace q2l::test {

/// Does what a golden file of any kind (a model, resize, metrics) describes, with `workers`
/// threads, and compares. Throws std::exception when the file is of no known kind or cannot be
/// followed.
GoldenReport check_golden(const nlohmann::json& file, std::size_t workers);

}  // namespace q2l::test
