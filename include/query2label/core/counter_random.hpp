// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace q2l {

/// The 64-bit FNV-1a hash of the bytes of `text`.
constexpr std::uint64_t fnv1a64(std::string_view text) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

/// The same `count` numbers everywhere for a name and a seed: element i is
/// float(offset + scale (2 u - 1)), u in [0, 1) being 24 bits of splitmix64 at counter i + 1 from
/// the start fnv1a64(name) xor (seed * 0x9E3779B97F4A7C15).
inline std::vector<float> counter_random(std::string_view name, std::size_t count, double offset,
                                         double scale, std::uint64_t seed) {
  constexpr std::uint64_t increment = 0x9E3779B97F4A7C15u;
  const std::uint64_t start = fnv1a64(name) ^ (seed * increment);
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t z = start + (i + 1) * increment;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    const double u = static_cast<double>(z >> 40) / 16777216.0;
    out[i] = static_cast<float>(offset + scale * (2.0 * u - 1.0));
  }
  return out;
}

/// Pictures [N, H, W, 3] whose numbers are those of "input", which count as [N, 3, H, W].
template <class T>
std::vector<T> counter_images(std::size_t batch, std::size_t height, std::size_t width,
                              double offset, double scale, std::uint64_t seed) {
  const std::size_t plane = height * width;
  const std::vector<float> planes = counter_random("input", batch * 3 * plane, offset, scale, seed);
  std::vector<T> out(planes.size());
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const std::size_t n = i / plane / 3;
    const std::size_t c = i / plane % 3;
    out[(n * plane + i % plane) * 3 + c] = static_cast<T>(planes[i]);
  }
  return out;
}

}  // namespace q2l
