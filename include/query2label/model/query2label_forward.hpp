// SPDX-License-Identifier: MIT
#pragma once

#include "query2label/simd/arch.hpp"

namespace q2l {

template <class T, class Arch>
class AnyBackbone;

template <class T = float, class Arch = simd::DefaultArch,
          template <class, class> class Backbone = AnyBackbone>
class Query2Label;

struct ModelConfig;

}  // namespace q2l
