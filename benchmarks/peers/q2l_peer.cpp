// SPDX-License-Identifier: MIT
// Our side of compare.py: loads a model, then answers one line on standard output to each line on
// standard input.
//
//     q2l_peer MODEL.safetensors INPUT THREADS      INPUT: float32 [N, 3, S, S]
//
//     (at the start)    ready SECONDS               the time the model took to load
//     run COUNT         SECONDS...                  the time of each of COUNT inferences
//     logits PATH       done                        writes the last answer, float32 [N, K]
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A file of [N, 3, S, S] as [N, S, S, 3]. Decoded pictures have that order, so this is not timed.
q2l::AlignedBuffer<float> read_pictures(const std::string& path, std::size_t side) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  const std::size_t count = static_cast<std::size_t>(file.tellg()) / sizeof(float);
  std::vector<float> planes(count);
  file.seekg(0);
  file.read(reinterpret_cast<char*>(planes.data()),
            static_cast<std::streamsize>(count * sizeof(float)));
  if (!file || count == 0 || count % (3 * side * side) != 0)
    throw std::runtime_error(path + ": not pictures of the model's size");
  q2l::AlignedBuffer<float> pixels(count);
  const std::size_t plane = side * side;
  for (std::size_t i = 0; i < count; ++i)
    pixels[(i / plane / 3 * plane + i % plane) * 3 + i / plane % 3] = planes[i];
  return pixels;
}

void serve(const std::string& model_path, const std::string& input_path, std::size_t threads) {
  const Clock::time_point start = Clock::now();
  const auto model = [&] {
    q2l::ModelFile file = q2l::open_model_file(model_path, {}, {}, {.threads = threads});
    return q2l::Query2Label<>::load(file.weights, file.config);
  }();
  const double load_seconds = seconds_since(start);

  const std::size_t side = model.config().image_size;
  const q2l::AlignedBuffer<float> pixels = read_pictures(input_path, side);
  const q2l::FeatureMap<const float> images{pixels.data(), pixels.size() / (3 * side * side), side,
                                            side, 3};
  q2l::ThreadPool pool(threads);
  q2l::Session session(model, pool, threads);
  std::vector<float> logits;
  std::cout << "ready " << load_seconds << std::endl;

  std::string command;
  while (std::cin >> command) {
    if (command == "run") {
      int count = 0;
      std::cin >> count;
      for (int i = 0; i < count; ++i) {
        const Clock::time_point begin = Clock::now();
        logits = session.query(session.encode(images)).logits;
        std::cout << (i == 0 ? "" : " ") << seconds_since(begin);
      }
      std::cout << std::endl;
    } else if (command == "logits") {
      std::string path;
      std::cin >> path;
      std::ofstream file(path, std::ios::binary);
      file.write(reinterpret_cast<const char*>(logits.data()),
                 static_cast<std::streamsize>(logits.size() * sizeof(float)));
      if (!file.flush()) throw std::runtime_error(path + ": cannot write");
      std::cout << "done" << std::endl;
    } else {
      throw std::runtime_error("unknown command " + command);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::fputs("usage: q2l_peer MODEL INPUT THREADS\n", stderr);
    return 2;
  }
  try {
    serve(arguments[1], arguments[2], std::stoul(arguments[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "q2l_peer: %s\n", error.what());
    return 1;
  }
}
