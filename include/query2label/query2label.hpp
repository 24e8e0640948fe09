// SPDX-License-Identifier: MIT
// Everything most programs need: Tagger, labels, and the model below it. Under
// QUERY2LABEL_SEPARATE_COMPILATION units that use the model include its headers themselves.
#pragma once

#include "query2label/image/read_image.hpp"
#include "query2label/labels/label_set.hpp"
#include "query2label/labels/ranking.hpp"
#ifndef QUERY2LABEL_SEPARATE_COMPILATION
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#endif
#include "query2label/tagger.hpp"
#include "query2label/version.hpp"
