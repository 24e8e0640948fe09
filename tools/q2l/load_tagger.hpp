// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <utility>

#include "q2l/check_model.hpp"
#include "q2l/options.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/tagger.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l::command {

/// How the library is to open the model that `options` name; `more` is what else is asked of it.
inline TaggerOptions tagger_options(const ModelOptions& options, TaggerOptions more = {}) {
  more.config_path = options.config;
  more.labels_path = options.labels;
  more.precision = options.precision;
  more.weights.torch.state_dict = options.state_dict;
  return more;
}

/// The file of that model, for what needs more than a Tagger.
inline ModelFile open_model(const ModelOptions& options, WeightOptions weights = {},
                            std::optional<Precision> precision = {}) {
  weights.torch.state_dict = options.state_dict;
  return open_model_file(options.model, options.config, {}, weights, precision);
}

/// The tagger that the options of a subcommand ask for; `more` are options beside them.
template <class Options>
Tagger load_tagger(const Options& options, TaggerOptions more = {}) {
  more.threads = options.threads;
  more.schedule = options.schedule;
  Tagger tagger = Tagger::load(options.model.model, tagger_options(options.model, std::move(more)));
  check_model(options.model, tagger);
  return tagger;
}

}  // namespace q2l::command
