// SPDX-License-Identifier: MIT
// A Session refers to its model, so it takes none that is about to end.
#include <utility>

#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"

using Model = q2l::Query2Label<>;

void run(Model& model, q2l::TaskRunner& runner) {
  q2l::Session<Model> session(model, runner, 1);
#ifdef MISUSE
  q2l::Session<Model> other(std::move(model), runner, 1);
#endif
}
