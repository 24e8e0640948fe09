// SPDX-License-Identifier: MIT
#pragma once

// A program that defines QUERY2LABEL_SEPARATE_COMPILATION for all its units has what is slow to
// compile (Tagger, Query2Label<>, decode_image) only declared where it is included, and defined in
// the one unit that includes query2label/implementation.hpp.

#ifdef QUERY2LABEL_SEPARATE_COMPILATION
#define QUERY2LABEL_INLINE
#else
#define QUERY2LABEL_INLINE inline
#endif
