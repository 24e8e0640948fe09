// SPDX-License-Identifier: MIT
// A view of constant values gives no view through which they could be changed.
#include "query2label/core/tensor.hpp"

q2l::Matrix<const float> constants(q2l::Matrix<float> values) { return values; }
#ifdef MISUSE
q2l::Matrix<float> values(q2l::Matrix<const float> constants) { return constants; }
#endif
