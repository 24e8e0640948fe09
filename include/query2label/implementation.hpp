// SPDX-License-Identifier: MIT
// The definitions that QUERY2LABEL_SEPARATE_COMPILATION leaves out: for one unit of such a program.
#pragma once

#include "query2label/backbone/backbone.hpp"
#include "query2label/image/decode_definition.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/tagger_definition.hpp"

#ifdef QUERY2LABEL_SEPARATE_COMPILATION
template class q2l::AnyBackbone<float, q2l::simd::DefaultArch>;
template class q2l::Query2Label<>;
#endif
