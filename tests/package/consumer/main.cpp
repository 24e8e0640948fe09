// SPDX-License-Identifier: MIT
// A host without any flags of ours: the kernels run on the compiler's baseline instruction set.
#include <query2label/core/workspace.hpp>
#include <query2label/image/read_image.hpp>
#include <query2label/ops/linear.hpp>
#include <query2label/version.hpp>
#include <query2label/weights/weight_map.hpp>
#include <vector>

int main() {
  using Arch = q2l::simd::DefaultArch;
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const std::vector<float> bias{10, 20};
  const q2l::ops::Linear<float, Arch> layer(3, 2, weight, bias);
  const std::vector<float> x{1, 1, 1};
  std::vector<float> y(2);
  q2l::SerialRunner runner;
  q2l::Workspace workspace(0);
  q2l::ops::linear<float, Arch>({runner, 1, workspace}, layer, {x.data(), 1, 3}, {y.data(), 1, 2});
  return y[0] == 16 && y[1] == 35 && q2l::version.major >= 0 ? 0 : 1;
}
