// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace q2l {

/// In what the operands of a product are multiplied. Residual streams, norms, softmax, and every
/// sum (but for int8's exact ones) are f32 in all of them; what only one product reads is stored in
/// the form in which it reads it. Attention's two products are bf16 where the layer that makes
/// their keys is and the processor multiplies bfloat16, else f32.
///
/// | precision | weights | left operand | sum |
/// |---|---|---|---|
/// | f32 | f32 | f32 | f32 |
/// | bf16 | bfloat16 | bfloat16 where the processor multiplies it, else f32 | f32 |
/// | int8 | 8 bits, one scale per column | 8 bits, one scale and zero point per layer | int32 |
enum class Precision : std::uint8_t { f32, bf16, int8 };

/// "f32", "bf16" or "int8".
constexpr std::string_view to_string(Precision precision) noexcept {
  constexpr std::array<std::string_view, 3> names{"f32", "bf16", "int8"};
  return names[static_cast<std::size_t>(precision)];
}

/// The precision of that exact name, or nothing.
constexpr std::optional<Precision> precision_named(std::string_view name) noexcept {
  for (const Precision p : {Precision::f32, Precision::bf16, Precision::int8}) {
    if (to_string(p) == name) return p;
  }
  return std::nullopt;
}

/// How real numbers become 8 bits: x is scale * (q - zero_point) with q in 0 .. 255.
struct Quantization {
  float scale = 1.0f;
  std::int32_t zero_point = 0;  ///< 0 .. 255

  bool operator==(const Quantization&) const = default;
};

/// A layer's name in the checkpoint ("transformer.encoder.layers.0.linear1") and how its product is
/// computed.
struct ProductSettings {
  std::string name;
  Precision precision = Precision::f32;
  Quantization input = {};  ///< of the left operand; for int8
};

}  // namespace q2l
