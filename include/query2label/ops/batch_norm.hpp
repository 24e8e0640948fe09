// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/shape_check.hpp"

namespace q2l::ops {

/// A normalisation with fixed statistics, as what it does to channel c: scale[c] x + shift[c].
/// It is folded into the convolution before it: W'[c] = scale[c] W[c], b'[c] = scale[c] b[c] +
/// shift[c].
struct ChannelAffine {
  std::vector<double> scale;
  std::vector<double> shift;
};

namespace detail {

/// scale = factor(c) / sqrt(running_var + eps), shift = bias - running_mean scale.
template <class T, class Factor>
ChannelAffine fold_statistics(std::size_t channels, Factor&& factor, std::span<const T> bias,
                              std::span<const T> running_mean, std::span<const T> running_var,
                              double eps, const std::string& name) {
  require_equal(bias.size(), channels, "normalisation: bias");
  require_equal(running_mean.size(), channels, "normalisation: running_mean");
  require_equal(running_var.size(), channels, "normalisation: running_var");
  ChannelAffine affine{std::vector<double>(channels), std::vector<double>(channels)};
  for (std::size_t c = 0; c < channels; ++c) {
    const double variance = static_cast<double>(running_var[c]) + eps;
    if (!(variance > 0.0)) {
      throw Error(ErrorCode::bad_weights, "a running variance is not positive",
                  {.subject = name, .actual = std::to_string(running_var[c])});
    }
    affine.scale[c] = factor(c) / std::sqrt(variance);
    affine.shift[c] =
        static_cast<double>(bias[c]) - static_cast<double>(running_mean[c]) * affine.scale[c];
  }
  return affine;
}

}  // namespace detail

/// torch.nn.BatchNorm2d in evaluation: scale = weight / sqrt(running_var + eps),
/// shift = bias - running_mean scale; all [C]. Computed in double.
/// Throws Error bad_weights naming `name` unless every running_var + eps is positive, bad_argument
/// on sizes.
template <class T>
ChannelAffine fold_batch_norm(std::span<const T> weight, std::span<const T> bias,
                              std::span<const T> running_mean, std::span<const T> running_var,
                              double eps, const std::string& name) {
  const auto factor = [&](std::size_t c) { return static_cast<double>(weight[c]); };
  return detail::fold_statistics<T>(weight.size(), factor, bias, running_mean, running_var, eps,
                                    name);
}

/// In-place activated batch norm (arXiv 1712.02616) in evaluation, without its activation: batch
/// norm that scales by |weight| + eps in place of weight. Errors as `fold_batch_norm`.
template <class T>
ChannelAffine fold_in_place_abn(std::span<const T> weight, std::span<const T> bias,
                                std::span<const T> running_mean, std::span<const T> running_var,
                                double eps, const std::string& name) {
  const auto factor = [&](std::size_t c) { return std::abs(static_cast<double>(weight[c])) + eps; };
  return detail::fold_statistics<T>(weight.size(), factor, bias, running_mean, running_var, eps,
                                    name);
}

}  // namespace q2l::ops
