// SPDX-License-Identifier: MIT
#pragma once

#define QUERY2LABEL_VERSION_MAJOR 0
#define QUERY2LABEL_VERSION_MINOR 1
#define QUERY2LABEL_VERSION_PATCH 0

namespace q2l {

struct Version {
  int major, minor, patch;
};

inline constexpr Version version{QUERY2LABEL_VERSION_MAJOR, QUERY2LABEL_VERSION_MINOR,
                                 QUERY2LABEL_VERSION_PATCH};

}  // namespace q2l
