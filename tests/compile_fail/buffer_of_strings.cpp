// SPDX-License-Identifier: MIT
// An AlignedBuffer constructs and destroys nothing, so it holds plain values alone.
#include <string>

#include "query2label/core/aligned_buffer.hpp"

q2l::AlignedBuffer<float> numbers;
#ifdef MISUSE
q2l::AlignedBuffer<std::string> strings;
#endif
