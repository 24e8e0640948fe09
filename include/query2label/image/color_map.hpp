// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "query2label/image/image.hpp"

namespace q2l {

/// A colour for a value in 0..1, from deep blue over purple and orange to pale yellow. Lightness
/// only ever rises, so that the order is seen in grey and by colour-blind eyes too. Values outside
/// are clamped.
inline Color heat_color(float value) {
  // Equal steps of CIE lightness, from about 15 to 95.
  constexpr std::array<std::array<float, 3>, 7> stops{{{26, 16, 92},
                                                       {86, 22, 125},
                                                       {150, 30, 118},
                                                       {208, 55, 84},
                                                       {244, 105, 44},
                                                       {252, 170, 40},
                                                       {252, 244, 160}}};
  const float place = std::clamp(value, 0.0f, 1.0f) * static_cast<float>(stops.size() - 1);
  const std::size_t below = std::min(static_cast<std::size_t>(place), stops.size() - 2);
  const float part = place - static_cast<float>(below);
  Color color{};
  for (std::size_t c = 0; c < 3; ++c)
    color[c] = static_cast<std::uint8_t>(
        std::lround(stops[below][c] + part * (stops[below + 1][c] - stops[below][c])));
  return color;
}

}  // namespace q2l
