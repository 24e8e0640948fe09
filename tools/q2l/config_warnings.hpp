// SPDX-License-Identifier: MIT
#pragma once

#include "q2l/message.hpp"
#include "query2label/model/config_reader.hpp"
#include "query2label/model/model_config.hpp"

namespace q2l::command {

/// Tells of keys that the configuration probably means otherwise, and of what had to be assumed:
/// with wrong heads, for example, a model answers, only worse.
inline void warn_of(const ModelConfig& config) {
  for (const MisspeltKey& misspelt : config.misspelt_keys) {
    say("warning: the configuration's '" + misspelt.key + "' means nothing; did you mean '" +
        misspelt.nearest + "'?");
  }
  for (const auto& [key, value] : config.assumed) {
    say("warning: neither the weights nor a configuration tell '" + key + "'; " + value +
        " is assumed");
  }
}

}  // namespace q2l::command
