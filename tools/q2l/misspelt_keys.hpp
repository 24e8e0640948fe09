// SPDX-License-Identifier: MIT
#pragma once

#include "q2l/message.hpp"
#include "query2label/model/config_reader.hpp"
#include "query2label/model/model_config.hpp"

namespace q2l::command {

/// Tells of keys that the configuration probably means otherwise.
inline void warn_of_misspelt_keys(const ModelConfig& config) {
  for (const MisspeltKey& misspelt : config.misspelt_keys) {
    say("warning: the configuration's '" + misspelt.key + "' means nothing; did you mean '" +
        misspelt.nearest + "'?");
  }
}

}  // namespace q2l::command
