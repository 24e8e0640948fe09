// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/file_descriptor.hpp"

namespace q2l {

/// The whole of a regular file of at most `max_bytes`. Never blocks on a pipe or a device.
/// Throws io, not_regular_file, limit_exceeded (before anything is read) or file_changed (it shrank
/// meanwhile).
inline std::vector<std::byte> read_file(const std::filesystem::path& path,
                                        std::uint64_t max_bytes) {
  const std::string& name = path.native();
  const detail::FileDescriptor file = detail::open_regular_file(name);
  const auto size = static_cast<std::uint64_t>(detail::regular_file_status(file, name).st_size);
  if (size > max_bytes) {
    throw Error(ErrorCode::limit_exceeded, "the file is too large",
                {.path = name,
                 .expected = "at most " + std::to_string(max_bytes) + " bytes",
                 .actual = std::to_string(size)});
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) detail::throw_errno("cannot read", name, errno);
    if (count == 0) {
      throw Error(ErrorCode::file_changed, "the file shrank while it was read",
                  {.path = name,
                   .offset = done,
                   .expected = std::to_string(size) + " bytes",
                   .actual = std::to_string(done)});
    }
    done += static_cast<std::size_t>(count);
  }
  return bytes;
}

}  // namespace q2l
