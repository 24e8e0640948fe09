// SPDX-License-Identifier: MIT
// Everything most programs need: Tagger, the model below it, and labels.
#pragma once

#include "query2label/labels/label_set.hpp"
#include "query2label/labels/ranking.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#include "query2label/tagger.hpp"
#include "query2label/version.hpp"
