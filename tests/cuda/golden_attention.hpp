// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>

#include "cuda/attention_example.hpp"
#include "golden/golden_report.hpp"

namespace q2l::test {

/// What computes an attention under test: out and maps of an example.
using Attend = std::function<AttentionOutcome(const AttentionExample&)>;

/// The golden models whose decoders are small; no label of theirs sees another.
inline constexpr const char* small_goldens[] = {
    "tiny-resnet18-d64-k5", "tiny-swin-k7", "tiny-cvt-k6", "tiny-tresnet-k9", "tiny-tresnetv2-k9"};

/// Decodes a golden file's input with `attend` as the attention of labels to tokens and everything
/// else done here, and compares the cross-attention maps of every layer and what is decoded, with
/// the bounds of check_model_golden. `is_reassociated`: the labels are projected instead of the
/// memory (ops/cross_attention.hpp). Throws std::exception when the file cannot be followed.
GoldenReport check_golden_attention(const std::string& path, bool is_reassociated,
                                    const Attend& attend);

}  // namespace q2l::test
