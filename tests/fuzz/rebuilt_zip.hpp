// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "query2label/weights/zip_archive.hpp"
#include "support/zip_builder.hpp"

namespace q2l::fuzz {

/// The entries of `archive`, as they are stored, in a new one whose checksums fit.
inline std::string rebuilt_zip(const ZipArchive& archive) {
  std::vector<test::ZipMember> members;
  for (const ZipEntry& entry : archive.entries())
    members.push_back({std::string(entry.name), std::string(as_text(entry.data)), {}, {}});
  return test::build_zip(members);
}

}  // namespace q2l::fuzz
