// SPDX-License-Identifier: MIT
#include "support/allocation_watch.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t largest_request = 0;
thread_local std::size_t total_requested = 0;
thread_local std::size_t requests_until_failure = 0;  // 0: none fails
thread_local bool failure_lasts = false;
thread_local bool has_failed = false;

bool fails() noexcept {
  if (has_failed && failure_lasts) return true;
  if (requests_until_failure == 0 || --requests_until_failure > 0) return false;
  return has_failed = true;
}

}  // namespace

// Buffers of large arrays.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  void* memory = nullptr;
  return !fails() && ::posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

// Replaces the program's operator new, but for over-aligned types.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  largest_request = std::max(largest_request, size);
  total_requested += size;
  if (fails()) return nullptr;
  return std::malloc(std::max<std::size_t>(size, 1));
}
void* operator new(std::size_t size) {
  if (void* memory = ::operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return ::operator new(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return ::operator new(size, std::nothrow);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace q2l::test {

AllocationWatch::AllocationWatch() noexcept { largest_request = total_requested = 0; }
std::size_t AllocationWatch::largest() const noexcept { return largest_request; }
std::size_t AllocationWatch::total() const noexcept { return total_requested; }

AllocationFailure::AllocationFailure(std::size_t first, bool lasts) noexcept {
  requests_until_failure = first;
  failure_lasts = lasts;
}
AllocationFailure::~AllocationFailure() {
  requests_until_failure = 0;
  failure_lasts = has_failed = false;
}
bool AllocationFailure::happened() const noexcept { return has_failed; }

}  // namespace q2l::test
