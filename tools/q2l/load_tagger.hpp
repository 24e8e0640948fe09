// SPDX-License-Identifier: MIT
#pragma once

#include "q2l/config_warnings.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {

/// The tagger that the options of a subcommand ask for.
template <class Options>
Tagger load_tagger(const Options& options) {
  Tagger tagger = Tagger::load(options.model.model, {.config_path = options.model.config,
                                                     .labels_path = options.model.labels,
                                                     .threads = options.threads,
                                                     .schedule = options.schedule,
                                                     .precision = options.model.precision});
  warn_of(tagger.config());
  return tagger;
}

}  // namespace q2l::command
