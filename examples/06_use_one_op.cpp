// SPDX-License-Identifier: MIT
// Lesson: an op without a model. A convolution with bias and ReLU over a batch of feature maps,
// channels last, on a pool of two threads; scratch comes from a workspace that a planning run
// sizes.
#include <iostream>
#include <query2label/core/thread_pool.hpp>
#include <query2label/ops/conv2d.hpp>
#include <vector>

int main() {
  using Arch = q2l::simd::DefaultArch;
  constexpr std::size_t batch = 2, side = 8, in_channels = 3, out_channels = 4;
  const q2l::ops::Conv2dShape shape{in_channels, out_channels, 3, 1, 1};

  // Each output channel sums a 3 x 3 window over all input channels and subtracts its number.
  const std::vector<float> weight(out_channels * in_channels * 9, 1.0f);
  const std::vector<float> bias{0, -1, -2, -30};
  const q2l::ops::Conv2d<float, Arch> layer(shape, weight, bias);

  const std::vector<float> input(batch * side * side * in_channels, 1.0f);
  std::vector<float> output(batch * side * side * out_channels);
  const q2l::FeatureMap<const float> in{input.data(), batch, side, side, in_channels};
  const q2l::FeatureMap<float> out{output.data(), batch, side, side, out_channels};

  q2l::ThreadPool pool(2);
  const auto run = [&](q2l::Workspace& workspace) {
    q2l::ops::conv2d<float, Arch>({pool, pool.threads(), workspace}, layer, in, out,
                                  {.activation = q2l::Activation::relu(), .residual = {}});
  };
  q2l::Workspace plan = q2l::Workspace::planning();
  run(plan);
  q2l::Workspace workspace(plan.peak());
  run(workspace);

  std::cout << "corner:";
  for (std::size_t c = 0; c < out_channels; ++c) std::cout << ' ' << out.pixel(0, 0, 0)[c];
  std::cout << "\ncentre:";
  for (std::size_t c = 0; c < out_channels; ++c) std::cout << ' ' << out.pixel(1, 4, 4)[c];
  std::cout << '\n';
  return out.pixel(0, 0, 0)[1] == 11.0f && out.pixel(1, 4, 4)[3] == 0.0f ? 0 : 1;
}
