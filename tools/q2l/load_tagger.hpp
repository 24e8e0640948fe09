// SPDX-License-Identifier: MIT
#pragma once

#include "query2label/tagger.hpp"

namespace q2l::command {

/// The tagger that the options of a subcommand ask for.
template <class Options>
Tagger load_tagger(const Options& options) {
  return Tagger::load(options.model.model, {.config_path = options.model.config,
                                            .labels_path = options.model.labels,
                                            .threads = options.threads,
                                            .schedule = options.schedule,
                                            .precision = options.model.precision});
}

}  // namespace q2l::command
