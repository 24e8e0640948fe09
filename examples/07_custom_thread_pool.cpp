// SPDX-License-Identifier: MIT
// Lesson: the host's own threads. A TaskRunner is one function, here on std::async; the tags have
// the bits that they have on one thread. Usage: 07_custom_thread_pool MODEL PICTURE
#include <future>
#include <iostream>
#include <query2label/query2label.hpp>
#include <vector>

/// Runs work on threads of the standard library.
class AsyncRunner final : public q2l::TaskRunner {
 public:
  void run(std::size_t workers, q2l::WorkerFunction work) override {
    std::vector<std::future<void>> others;
    for (std::size_t w = 1; w < workers; ++w)
      others.push_back(std::async(std::launch::async, [work, w] { work(w); }));
    work(0);
    for (std::future<void>& other : others) other.get();
  }
};

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: 07_custom_thread_pool MODEL PICTURE\n";
    return 2;
  }
  AsyncRunner threads;  // must outlive the tagger
  const auto tagger = q2l::Tagger::load(argv[1], {.threads = 3, .runner = &threads});
  const auto alone = q2l::Tagger::load(argv[1], {.threads = 1});
  const q2l::Image image = q2l::read_image(argv[2]);
  const std::vector<q2l::Tag> tags = tagger.tag(image), expected = alone.tag(image);
  if (tags != expected) {
    std::cerr << "threads must not change a bit\n";
    return 1;
  }
  for (const q2l::Tag& tag : tags) std::cout << tag.label << ' ' << tag.score << '\n';
} catch (const q2l::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
