// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/float_environment.hpp"
#include "query2label/image/image.hpp"

namespace q2l {
namespace detail {

/// Bits behind the point of a resampling weight: 8 for the sample and 2 of headroom leave 22 of 32.
inline constexpr int resize_fraction_bits = 32 - 8 - 2;

/// For each output position the input positions it averages, with fixed-point weights.
struct ResizeWeights {
  struct Window {
    std::size_t first;    ///< first input position
    std::size_t count;    ///< how many
    std::size_t weights;  ///< where in `values` their weights start
  };
  std::vector<Window> windows;
  std::vector<std::int32_t> values;
};

/// A triangle of half width max(scale, 1) around each output centre, cut at the picture's edge,
/// normalised in double and then rounded to fixed point, half away from zero.
inline ResizeWeights make_resize_weights(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  const double half_width = std::max(scale, 1.0);
  ResizeWeights out;
  out.windows.reserve(static_cast<std::size_t>(to));
  std::vector<double> triangle;
  for (int position = 0; position < to; ++position) {
    const double center = (position + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - half_width + 0.5), 0);
    const int end = std::min(static_cast<int>(center + half_width + 0.5), from);
    triangle.clear();
    double sum = 0;
    for (int x = first; x < end; ++x) {
      const double distance = std::abs((x - center + 0.5) * (1.0 / half_width));
      triangle.push_back(distance < 1.0 ? 1.0 - distance : 0.0);
      sum += triangle.back();
    }
    out.windows.push_back({static_cast<std::size_t>(first), triangle.size(), out.values.size()});
    for (const double weight : triangle)
      out.values.push_back(static_cast<std::int32_t>(
          0.5 + weight / sum * (std::int32_t{1} << resize_fraction_bits)));
  }
  return out;
}

inline std::uint8_t round_sample(std::int32_t sum) noexcept {
  return static_cast<std::uint8_t>(std::clamp(sum >> resize_fraction_bits, 0, 255));
}
inline constexpr std::int32_t resize_half = std::int32_t{1} << (resize_fraction_bits - 1);

/// Rows [height, from, 3] to [height, to, 3]. Works on several rows at a time, laid out so that the
/// samples of one column are neighbours and share a weight.
inline std::vector<std::uint8_t> resize_rows(const std::uint8_t* in, std::size_t height,
                                             std::size_t from, const ResizeWeights& weights) {
  constexpr std::size_t rows = 8, lanes = 3 * rows;
  const std::size_t to = weights.windows.size();
  std::vector<std::uint8_t> out(height * to * 3);
  std::vector<std::uint8_t> columns(from * lanes);  // [from, rows, 3]
  for (std::size_t top = 0; top < height; top += rows) {
    const std::size_t count = std::min(rows, height - top);
    for (std::size_t row = 0; row < count; ++row) {
      const std::uint8_t* source = in + (top + row) * from * 3;
      std::uint8_t* target = columns.data() + row * 3;
      for (std::size_t x = 0; x < from; ++x, source += 3, target += lanes) {
        target[0] = source[0];
        target[1] = source[1];
        target[2] = source[2];
      }
    }
    for (std::size_t x = 0; x < to; ++x) {
      const ResizeWeights::Window& window = weights.windows[x];
      std::array<std::int32_t, lanes> sum;
      sum.fill(resize_half);
      for (std::size_t k = 0; k < window.count; ++k) {
        const std::int32_t weight = weights.values[window.weights + k];
        const std::uint8_t* column = columns.data() + (window.first + k) * lanes;
        for (std::size_t lane = 0; lane < lanes; ++lane) sum[lane] += weight * column[lane];
      }
      for (std::size_t row = 0; row < count; ++row)
        for (std::size_t c = 0; c < 3; ++c)
          out[((top + row) * to + x) * 3 + c] = round_sample(sum[row * 3 + c]);
    }
  }
  return out;
}

/// Columns [from, samples] to [to, samples].
inline std::vector<std::uint8_t> resize_columns(const std::uint8_t* in, std::size_t samples,
                                                const ResizeWeights& weights) {
  constexpr std::size_t lanes = 64;
  std::vector<std::uint8_t> out(weights.windows.size() * samples);
  std::uint8_t* target = out.data();
  for (const ResizeWeights::Window& window : weights.windows) {
    for (std::size_t left = 0; left < samples; left += lanes) {
      const std::size_t count = std::min(lanes, samples - left);
      std::array<std::int32_t, lanes> sum;
      sum.fill(resize_half);
      for (std::size_t k = 0; k < window.count; ++k) {
        const std::int32_t weight = weights.values[window.weights + k];
        const std::uint8_t* row = in + (window.first + k) * samples + left;
        if (count == lanes)
          for (std::size_t lane = 0; lane < lanes; ++lane) sum[lane] += weight * row[lane];
        else
          for (std::size_t lane = 0; lane < count; ++lane) sum[lane] += weight * row[lane];
      }
      for (std::size_t lane = 0; lane < count; ++lane)
        target[left + lane] = round_sample(sum[lane]);
    }
    target += samples;
  }
  return out;
}

}  // namespace detail

/// The picture at width x height by antialiased bilinear resampling, equal byte for byte to
/// Image.resize(..., BILINEAR) on RGB of Pillow before 13, which the models were trained with:
/// first along the rows, then along the columns, rounding to 8 bit after each (Pillow 13 chooses
/// the order); a side that keeps its length is left alone. The same whatever the host's float
/// environment. Throws bad_argument for a size below 1 and what require_valid refuses;
/// out_of_memory.
inline Image resize_bilinear(const Image& image, int width, int height) {
  require_valid(image, "resize_bilinear");
  if (width < 1 || height < 1)
    throw Error(ErrorCode::bad_argument, "a picture's new size needs sides of at least 1",
                {.subject = "resize_bilinear",
                 .actual = std::to_string(width) + " x " + std::to_string(height)});
  return with_memory_error("no memory to resize the picture", "", [&]() -> Image {
    const FloatEnvironmentScope standard(FloatEnvironment::standard());
    if (width == image.width && height == image.height) return image;
    std::vector<std::uint8_t> rows;
    const std::uint8_t* pixels = image.rgb.data();
    if (width != image.width) {
      rows = detail::resize_rows(pixels, static_cast<std::size_t>(image.height),
                                 static_cast<std::size_t>(image.width),
                                 detail::make_resize_weights(image.width, width));
      if (height == image.height) return {width, height, std::move(rows)};
      pixels = rows.data();
    }
    return {width, height,
            detail::resize_columns(pixels, static_cast<std::size_t>(width) * 3,
                                   detail::make_resize_weights(image.height, height))};
  });
}

}  // namespace q2l
