// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/error.hpp"
#include "query2label/core/file_descriptor.hpp"
#include "query2label/core/parallel_for.hpp"

namespace q2l {

/// How the bytes of a file come into memory.
///
/// `map` costs nothing until a byte is used and shares pages between processes, but a file that
/// another process *shortens in place* while it is mapped raises SIGBUS on the next access: the
/// kernel offers no portable way to turn that into an error. Replacing a file by rename, as package
/// managers and `write_safetensors` do, is harmless. `read` copies the file once and is immune; use
/// it for files that strangers can write to.
enum class FileAccess { map, read };

namespace detail {

/// Addresses given by mmap, given back with their owner.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, std::size_t size) noexcept : address_(address), size_(size) {}
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping() {
    if (address_ != nullptr) ::munmap(address_, size_);
  }
  explicit operator bool() const noexcept { return address_ != nullptr; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace detail

/// A regular file's bytes, read-only, for as long as the object lives. Moving it keeps the
/// addresses.
class MappedFile {
 public:
  /// Throws not_regular_file at once for folders, pipes, sockets and devices; io where the system
  /// refuses; file_changed where the size changes meanwhile.
  explicit MappedFile(const std::filesystem::path& path, FileAccess access = FileAccess::map,
                      const Threads& threads = {})
      : path_(path.string()) {
    file_ = detail::open_regular_file(path_);
    state_ = current_state();
    if (state_.size == 0) return;
    if (access == FileAccess::map) {
      map();
    } else {
      read(threads);
    }
    check_unchanged();
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  /// Throws file_changed if the file has been written to since it was opened.
  void check_unchanged() const {
    if (current_state() != state_)
      throw Error(ErrorCode::file_changed, "the file changed while it was being read",
                  {.path = path_});
  }

  /// Gives the memory of the mapped pages that lie within `part` of `bytes()` back until they are
  /// read again.
  void release_pages(std::span<const std::byte> part) const noexcept {
    if (!mapping_) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto offset = static_cast<std::size_t>(part.data() - bytes_.data());
    const std::size_t begin = round_up(offset, page);
    const std::size_t end = (offset + part.size()) / page * page;
    if (begin >= end) return;
    ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
  }

 private:
  struct State {
    std::size_t size = 0;
    std::int64_t seconds = 0;  ///< of the last modification
    std::int64_t nanoseconds = 0;
    bool operator==(const State&) const = default;
  };

  [[nodiscard]] State current_state() const {
    const struct stat status = detail::regular_file_status(file_, path_);
#if defined(__APPLE__)
    const timespec& modified = status.st_mtimespec;
#else
    const timespec& modified = status.st_mtim;
#endif
    return {static_cast<std::size_t>(status.st_size), modified.tv_sec, modified.tv_nsec};
  }

  void map() {
    void* const address = ::mmap(nullptr, state_.size, PROT_READ, MAP_PRIVATE, file_.get(), 0);
    if (address == MAP_FAILED) detail::throw_errno("cannot map into memory", path_, errno);
    mapping_ = detail::Mapping(address, state_.size);
    bytes_ = {static_cast<const std::byte*>(address), state_.size};
  }

  void read(const Threads& threads) {
    constexpr std::size_t piece = std::size_t{4} << 20;
    copy_ = AlignedBuffer<std::byte>(state_.size);
    threads.parallel_for((state_.size + piece - 1) / piece, [&](std::size_t i, std::size_t) {
      read_range(i * piece, std::min((i + 1) * piece, state_.size));
    });
    bytes_ = copy_.span();
  }

  void read_range(std::size_t begin, std::size_t end) {
    while (begin < end) {
      const ssize_t count =
          ::pread(file_.get(), copy_.data() + begin, end - begin, static_cast<off_t>(begin));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::throw_errno("cannot read", path_, errno);
      if (count == 0)
        throw Error(ErrorCode::file_changed, "the file became shorter while it was being read",
                    {.path = path_});
      begin += static_cast<std::size_t>(count);
    }
  }

  std::string path_;
  detail::FileDescriptor file_;
  State state_;
  detail::Mapping mapping_;
  AlignedBuffer<std::byte> copy_;
  std::span<const std::byte> bytes_;
};

}  // namespace q2l
