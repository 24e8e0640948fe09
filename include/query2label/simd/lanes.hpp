// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "query2label/simd/arch.hpp"

namespace q2l::simd {

/// The batch at `source`, of any alignment, in a register. A compiler that sees several uses likes
/// to load it anew for each, as memory operands; with four rows or fewer that is more than the two
/// loads a cycle that there are (58 % of peak instead of 98 % with GCC 12).
template <class T, class Arch>
inline Batch<T, Arch> load_once(const T* source) noexcept {
  Batch<T, Arch> value = Batch<T, Arch>::load_unaligned(source);
#if defined(__GNUC__) && defined(__x86_64__)
  asm("" : "+x"(value.data));
#elif defined(__GNUC__) && defined(__aarch64__)
  asm("" : "+w"(value.data));
#endif
  return value;
}

/// The first `count` (< lanes) elements at `source`, the other lanes `fill`. Reads nothing else.
template <class T, class Arch>
inline Batch<T, Arch> load_partial(const T* source, std::size_t count, T fill = T(0)) noexcept {
  alignas(64) T buffer[Batch<T, Arch>::size];
  for (std::size_t i = 0; i < Batch<T, Arch>::size; ++i) buffer[i] = i < count ? source[i] : fill;
  return Batch<T, Arch>::load_aligned(buffer);
}

/// Writes the first `count` (< lanes) lanes and nothing else.
template <class T, class Arch>
inline void store_partial(T* target, Batch<T, Arch> value, std::size_t count) noexcept {
  alignas(64) T buffer[Batch<T, Arch>::size];
  value.store_aligned(buffer);
  for (std::size_t i = 0; i < Batch<T, Arch>::size && i < count; ++i) target[i] = buffer[i];
}

/// Calls `body(offset, load, store)` for each group of lanes of a row of `count` elements, where
/// `load(pointer)` and `store(pointer, batch)` touch just the lanes that exist. Lanes beyond the
/// end read as `fill`.
template <class T, class Arch, class Body>
inline void for_each_lane_group(std::size_t count, Body&& body, T fill = T(0)) {
  using B = Batch<T, Arch>;
  constexpr std::size_t lanes = B::size;
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    body(
        i, [](const T* p) { return B::load_unaligned(p); },
        [](T* p, B value) { value.store_unaligned(p); });
  }
  if (i < count) {
    const std::size_t rest = count - i;
    body(
        i, [rest, fill](const T* p) { return load_partial<T, Arch>(p, rest, fill); },
        [rest](T* p, B value) { store_partial<T, Arch>(p, value, rest); });
  }
}

}  // namespace q2l::simd
