// SPDX-License-Identifier: MIT
// Lesson: attention on a GPU. Three labels look at the tokens of two images; their queries are
// constants of the model, so both images share them. The work is put on a stream of the host's.
#include <exception>
#include <iostream>
#include <query2label/cuda/cross_attention.cuh>
#include <query2label/cuda/device_buffer.cuh>
#include <span>
#include <vector>

namespace {

using q2l::cuda::DeviceBuffer;

int run() {
  constexpr int images = 2, heads = 2, labels = 3, tokens = 5, width = 16;
  constexpr int line = heads * width;  // the heads of a token lie side by side

  // Label l asks for what only token l of an image has; a token's values are its number.
  std::vector<float> q(labels * line), k(images * tokens * line), v(images * tokens * line);
  for (int l = 0; l < labels; ++l) {
    for (int h = 0; h < heads; ++h) q[l * line + h * width + l] = 100.0f;
  }
  for (int t = 0; t < images * tokens; ++t) {
    for (int h = 0; h < heads; ++h) k[t * line + h * width + t % tokens] = 1.0f;
    for (int c = 0; c < line; ++c) v[t * line + c] = static_cast<float>(t);
  }
  const DeviceBuffer<float> q_gpu{std::span<const float>(q)};
  const DeviceBuffer<float> k_gpu{std::span<const float>(k)};
  const DeviceBuffer<float> v_gpu{std::span<const float>(v)};
  DeviceBuffer<float> out_gpu(images * labels * line);
  DeviceBuffer<float> maps_gpu(images * heads * labels * tokens);

  q2l::cuda::CrossAttentionOperands<float> operands;
  operands.batch = images;
  operands.heads = heads;
  operands.queries = labels;
  operands.tokens = tokens;
  operands.width = width;
  operands.q = {q_gpu.data(), 0, width, line};  // batch stride 0: shared
  operands.k = {k_gpu.data(), tokens * line, width, line};
  operands.v = {v_gpu.data(), tokens * line, width, line};
  operands.out = {out_gpu.data(), labels * line, width, line};
  operands.maps = maps_gpu.data();

  cudaStream_t stream = nullptr;
  q2l::cuda::check(cudaStreamCreate(&stream), "cudaStreamCreate");
  q2l::cuda::cross_attention<float>(operands, stream);

  std::vector<float> out(out_gpu.size()), maps(maps_gpu.size());
  out_gpu.download(out, stream);
  maps_gpu.download(maps, stream);
  q2l::cuda::check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  q2l::cuda::check(cudaStreamDestroy(stream), "cudaStreamDestroy");

  bool is_right = true;
  for (int n = 0; n < images; ++n) {
    for (int l = 0; l < labels; ++l) {
      const float answer = out[(n * labels + l) * line];
      const float weight = maps[(n * heads * labels + l) * tokens + l];
      std::cout << "image " << n << ", label " << l << ": " << answer << ", attending with weight "
                << weight << " to token " << l << '\n';
      is_right = is_right && answer == static_cast<float>(n * tokens + l) && weight == 1.0f;
    }
  }
  return is_right ? 0 : 1;
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::cout << "no GPU here\n";
    return 77;
  }
  try {
    return run();
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
