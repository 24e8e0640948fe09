// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "query2label/core/error.hpp"
#include "query2label/model/config_reader.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/tagger.hpp"

namespace q2l::command {

/// Tells of keys that the configuration probably means otherwise, and of what had to be assumed:
/// with wrong heads, for example, a model answers, only worse. Where the options are strict it
/// throws Error bad_config for the first of them instead.
inline void check_config(const ModelOptions& options, const ModelConfig& config,
                         std::vector<std::string> doubts = {}) {
  for (const MisspeltKey& misspelt : config.misspelt_keys) {
    doubts.push_back("the configuration's '" + misspelt.key + "' means nothing; did you mean '" +
                     misspelt.nearest + "'?");
  }
  for (const auto& [key, value] : config.assumed) {
    doubts.push_back("neither the weights nor a configuration tell '" + key + "'; " + value +
                     " is assumed");
  }
  for (const std::string& doubt : doubts) {
    if (options.strict) throw Error(ErrorCode::bad_config, doubt, {.path = options.model});
    say("warning: " + doubt);
  }
}

/// `check_config`, and the same of labels that nothing names.
inline void check_model(const ModelOptions& options, const Tagger& tagger) {
  std::vector<std::string> doubts;
  if (tagger.labels_are_guessed()) {
    doubts.push_back("nothing names the " + std::to_string(tagger.labels().size()) +
                     " labels; those of the data set with as many are assumed");
  }
  check_config(options, tagger.config(), std::move(doubts));
}

}  // namespace q2l::command
