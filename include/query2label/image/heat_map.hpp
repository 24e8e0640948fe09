// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/fixed_decimals.hpp"
#include "query2label/core/float_environment.hpp"
#include "query2label/core/is_finite.hpp"
#include "query2label/image/bitmap_text.hpp"
#include "query2label/image/color_map.hpp"
#include "query2label/image/image.hpp"
#include "query2label/image/png_encode.hpp"
#include "query2label/image/resize.hpp"

namespace q2l {
namespace detail {

/// Up to four grid cells and their weights for each position of a longer axis: a Catmull-Rom spline
/// through the cells' centres, flat beyond the outermost.
struct SplineTap {
  std::array<std::size_t, 4> cell;
  std::array<float, 4> weight;
};

inline std::vector<SplineTap> spline_taps(int cells, int length) {
  std::vector<SplineTap> taps;
  taps.reserve(static_cast<std::size_t>(length));
  for (int i = 0; i < length; ++i) {
    const float place =
        (static_cast<float>(i) + 0.5f) * static_cast<float>(cells) / static_cast<float>(length) -
        0.5f;
    const int before = static_cast<int>(std::floor(place));
    const float t = place - static_cast<float>(before);
    SplineTap tap{{},
                  {0.5f * t * (t * (2 - t) - 1), 0.5f * (t * t * (3 * t - 5) + 2),
                   0.5f * t * (t * (4 - 3 * t) + 1), 0.5f * t * t * (t - 1)}};
    for (int k = 0; k < 4; ++k)
      tap.cell[static_cast<std::size_t>(k)] =
          static_cast<std::size_t>(std::clamp(before - 1 + k, 0, cells - 1));
    taps.push_back(tap);
  }
  return taps;
}

/// The grid [H, W] at [height, width], smooth, through the cells' values.
inline std::vector<float> upsample(std::span<const float> grid, int grid_height, int grid_width,
                                   int height, int width) {
  const auto cells = static_cast<std::size_t>(grid_width),
             columns = static_cast<std::size_t>(width);
  const std::vector<SplineTap> across = spline_taps(grid_width, width);
  std::vector<float> rows(static_cast<std::size_t>(grid_height) * columns);
  for (std::size_t y = 0; y < static_cast<std::size_t>(grid_height); ++y)
    for (std::size_t x = 0; x < columns; ++x)
      for (std::size_t k = 0; k < 4; ++k)
        rows[y * columns + x] += across[x].weight[k] * grid[y * cells + across[x].cell[k]];
  std::vector<float> out(static_cast<std::size_t>(height) * columns);
  std::size_t y = 0;
  for (const SplineTap& down : spline_taps(grid_height, height)) {
    for (std::size_t k = 0; k < 4; ++k)
      for (std::size_t x = 0; x < columns; ++x)
        out[y * columns + x] += down.weight[k] * rows[down.cell[k] * columns + x];
    ++y;
  }
  return out;
}

/// The picture at a size that screens show well: its longer side within 320..1024 pixels.
inline Image fit_for_display(const Image& picture) {
  const int longest = std::max(picture.width, picture.height);
  const int wanted = std::clamp(longest, 320, 1024);
  if (wanted == longest) return picture;
  const auto scaled = [&](int side) {
    return std::max(1, static_cast<int>(std::lround(static_cast<double>(side) * wanted / longest)));
  };
  return resize_bilinear(picture, scaled(picture.width), scaled(picture.height));
}

/// Greys and dims a pixel a little where attention is low and tints it where it is high.
inline void tint(std::uint8_t* pixel, float heat) {
  const Color color = heat_color(heat);
  const float gray = 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
  const float opacity = 0.25f + 0.4f * heat;
  for (std::size_t c = 0; c < 3; ++c) {
    const float muted = 0.5f * (pixel[c] + gray);
    pixel[c] = static_cast<std::uint8_t>(std::lround(muted + opacity * (color[c] - muted)));
  }
}

/// The strip under a heat map: the label and its score, then the colour bar between its two ends'
/// values.
inline void draw_legend(Image& canvas, int top, int scale, std::string_view label, float score,
                        float lowest, float highest) {
  constexpr Color bright{245, 245, 245}, dim{185, 185, 195};
  const int margin = 5 * scale, advance = glyph_advance * scale, line = glyph_height * scale;
  const auto width_of = [&](std::string_view text) { return glyph_count(text) * advance; };

  const std::string score_text = fixed_decimals(score, 3);
  const int score_left = canvas.width - margin - width_of(score_text) + scale;
  const int room = std::max(0, (score_left - 2 * margin) / advance);
  std::string shown(label);
  if (glyph_count(shown) > room) {
    while (!shown.empty() && glyph_count(shown) > room - 3) shown.pop_back();
    shown += "...";
  }
  draw_text(canvas, margin, top + margin, shown, scale, bright);
  draw_text(canvas, score_left, top + margin, score_text, scale, bright);

  const int bar_top = top + 2 * margin + line;
  const std::string low_text = "attention " + fixed_decimals(100 * lowest, 1) + "%";
  const std::string high_text = fixed_decimals(100 * highest, 1) + "%";
  draw_text(canvas, margin, bar_top, low_text, scale, dim);
  const int high_left = canvas.width - margin - width_of(high_text) + scale;
  draw_text(canvas, high_left, bar_top, high_text, scale, dim);
  const int bar_left = margin + width_of(low_text) + margin;
  const int bar_width = high_left - margin - bar_left;
  for (int x = 0; x < bar_width; ++x)
    fill_rectangle(
        canvas, bar_left + x, bar_top, 1, 7 * scale,
        heat_color(static_cast<float>(x) / static_cast<float>(std::max(bar_width - 1, 1))));
}

}  // namespace detail

/// A picture with a label's attention over it and a legend below. `attention` [H, W] is the label's
/// distribution over the grid of tokens, row by row: each cell's share, all of them 1 in sum. The
/// legend names the label and its score, and shows the colours between the smallest and the largest
/// share. Pictures are scaled for display, their longer side to 320..1024 pixels. The same whatever
/// the host's float environment. Throws bad_argument for a grid of another size, a share that is
/// not in 0..1, a score that is not a number, and what require_valid refuses; out_of_memory.
inline Image draw_heat_map(const Image& picture, std::span<const float> attention,
                           std::size_t grid_height, std::size_t grid_width, std::string_view label,
                           float score) {
  const FloatEnvironmentScope standard(FloatEnvironment::standard());
  require_valid(picture, "draw_heat_map");
  if (attention.empty() || !std::in_range<int>(attention.size()) || grid_width == 0 ||
      attention.size() % grid_width != 0 || attention.size() / grid_width != grid_height)
    throw Error(ErrorCode::bad_argument, "the attention does not fill its grid",
                {.subject = std::string(label),
                 .expected = std::to_string(grid_height) + " x " + std::to_string(grid_width),
                 .actual = std::to_string(attention.size()) + " values"});
  for (const float share : attention)
    if (!is_finite(share) || share < 0.0f || share > 1.001f)
      throw Error(ErrorCode::bad_argument, "a cell's share of the attention is not in 0..1",
                  {.subject = std::string(label), .actual = std::to_string(share)});
  if (!is_finite(score))
    throw Error(ErrorCode::bad_argument, "the score is not a number",
                {.subject = std::string(label), .actual = std::to_string(score)});

  return with_memory_error("no memory to draw the heat map", "", [&] {
    constexpr int narrowest = 240;
    constexpr Color paper{28, 28, 34};
    Image shown = detail::fit_for_display(picture);
    const auto [lowest, highest] = std::minmax_element(attention.begin(), attention.end());
    const float range = *highest - *lowest;
    const std::vector<float> shares =
        detail::upsample(attention, static_cast<int>(grid_height), static_cast<int>(grid_width),
                         shown.height, shown.width);
    for (std::size_t i = 0; i < shares.size(); ++i)
      detail::tint(&shown.rgb[3 * i],
                   range > 0 ? std::clamp((shares[i] - *lowest) / range, 0.0f, 1.0f) : 0.0f);

    const int width = std::max(shown.width, narrowest);
    const int scale = std::max(1, width / 320);
    const int legend_height = (3 * 5 + 2 * detail::glyph_height) * scale;
    Image canvas{width, shown.height + legend_height, {}};
    canvas.rgb.resize(static_cast<std::size_t>(canvas.width) *
                      static_cast<std::size_t>(canvas.height) * 3);
    detail::fill_rectangle(canvas, 0, 0, canvas.width, canvas.height, paper);
    const auto row_bytes = static_cast<std::ptrdiff_t>(shown.width) * 3;
    const std::ptrdiff_t left = static_cast<std::ptrdiff_t>((width - shown.width) / 2) * 3;
    for (std::ptrdiff_t y = 0; y < shown.height; ++y)
      std::copy_n(shown.rgb.begin() + y * row_bytes, row_bytes,
                  canvas.rgb.begin() + y * static_cast<std::ptrdiff_t>(width) * 3 + left);
    detail::draw_legend(canvas, shown.height, scale, label, score, *lowest, *highest);
    return canvas;
  });
}

}  // namespace q2l
