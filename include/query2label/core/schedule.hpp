// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace q2l {

/// What threads do with several pictures. The results are the same.
enum class Schedule : std::uint8_t {
  latency,     ///< all share the work on each call's pictures
  throughput,  ///< each has pictures of its own; those left over are shared
};

}  // namespace q2l
