// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace q2l {

/// Sizes and options of the transformer, as the reference's configuration names them.
struct TransformerShape {
  std::size_t width = 0;           ///< D, `hidden_dim`
  std::size_t heads = 4;           ///< `nheads`
  std::size_t feed_forward = 0;    ///< `dim_feedforward`
  std::size_t encoder_layers = 1;  ///< `enc_layers`
  std::size_t decoder_layers = 2;  ///< `dec_layers`
  std::size_t labels = 0;          ///< K, `num_class`
  bool pre_norm = false;
  bool keep_first_self_attention = false;  ///< `keep_first_self_attn_dec`
  bool keep_other_self_attention = false;  ///< `keep_other_self_attn_dec`

  [[nodiscard]] bool has_self_attention(std::size_t decoder_layer) const noexcept {
    return decoder_layer == 0 ? keep_first_self_attention : keep_other_self_attention;
  }
};

}  // namespace q2l
