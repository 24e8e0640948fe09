// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/kernels/elementwise_kernel.hpp"
#include "query2label/kernels/panel_matrix.hpp"
#include "query2label/simd/arch.hpp"
#include "query2label/simd/dot_product.hpp"
#include "query2label/simd/fma.hpp"
#include "query2label/simd/lanes.hpp"

// The one product of the library. Linear layers, convolutions of every size and both products of
// attention are sums over (tap, depth) of left rows times packed panels; only where the left rows
// lie differs, and a row source says that.
//
// Each result is a sum of chains of about `chain_length` fused multiply-adds, added up in the order
// of the panel's rows; the first chain begins with the bias, and the residual is added to the sum
// of the first chunk of depth. Short chains keep the rounding error small: it grows with a chain's
// length plus their number, not with the product of the two (R101's logits on a photo: 3 times
// closer to the exact ones than with chains of 256). Where weights are narrow a chunk is one chain,
// as rounding them costs far more. Chains and chunks depend on taps and depth alone, so neither
// tiles, threads nor batch position change a bit.

namespace q2l::kernels {

/// A chain of multiply-adds ends at the first block or tap that brings it to this length.
inline constexpr std::size_t chain_length = 64;

/// Elements of depth that one pass over a tile sums: a cache block, and a multiple of the chain.
template <class W>
inline constexpr std::size_t chunk_depth = 1024 / sizeof(W);
// A chunk's sum of int8 products and its correction fit 32 bits; chunks are added up as floats.
static_assert(2 * 255 * 127 * chunk_depth<std::int8_t> <=
              std::size_t{std::numeric_limits<std::int32_t>::max()});

/// Lines of memory that a tile asks for on its way, so that they are in the second-level cache when
/// the next pass reads them: a weight comes from memory once, and the first tile to use it would
/// wait for it (with 80 rows a quarter of the time).
struct Prefetch {
  const std::byte* data = nullptr;
  std::size_t lines = 0;
};

/// What happens to a product before and after it is summed.
template <class T>
struct Epilogue {
  const T* bias = nullptr;      ///< padded_columns elements, added first; may be null
  const T* residual = nullptr;  ///< same shape as the result; may be null
  std::size_t residual_stride = 0;
  Activation activation = {};

  /// Of the results from that row and column on.
  [[nodiscard]] Epilogue at(std::size_t row, std::size_t column) const noexcept {
    Epilogue out = *this;
    if (out.bias) out.bias += column;
    if (out.residual) out.residual += row * residual_stride + column;
    return out;
  }
};

/// The part of (taps, depth) that one pass over the tile sums.
struct DepthChunk {
  std::size_t first_tap, taps, first_depth, depth;
  bool is_first, is_last;
};

/// A panel as one pass over a tile needs it.
template <class T, class W>
struct PanelChunk {
  const W* data;           ///< the chunk's first row
  std::size_t tap_stride;  ///< elements from one tap's rows to the next's
  std::size_t columns;
  const T* scale;                  ///< of the columns; where W is narrower than T
  const std::int32_t* correction;  ///< of the columns in this chunk, or null; for int8
  Prefetch next;
};

/// Rows that lie `stride` apart: the left operand of a linear layer, and the plainest row source.
template <class T>
struct StridedRows {
  const T* data;
  std::size_t stride;

  /// Writes the address of each of `count` rows from `first`, tap by tap from `first_tap`; here
  /// there is one tap.
  void pointers(std::size_t first, std::size_t count, std::size_t, std::size_t,
                const T** out) const noexcept {
    for (std::size_t r = 0; r < count; ++r) out[r] = data + (first + r) * stride;
  }
};

namespace detail {

// Always inlined: where Clang 14 leaves a call that is handed the sums, it keeps them in memory and
// stores one with every multiply-add.

/// The sums of a tile that starts a result: its bias.
template <class T, class Arch, std::size_t Rows, std::size_t Vectors>
[[gnu::always_inline]] inline void start_tile(const Epilogue<T>& epilogue,
                                              simd::Batch<T, Arch> (&sum)[Rows][Vectors]) noexcept {
  using B = simd::Batch<T, Arch>;
  if (!epilogue.bias) return;
  Q2L_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) {
    const B bias = B::load_unaligned(epilogue.bias + v * B::size);
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) sum[r][v] = bias;
  }
}

/// Asks for `columns` elements of each of `rows` rows, to be read or written once the products of a
/// tile are summed: they come from far, as other products have filled the caches since. (Without,
/// R101's convolutions that end a block take a seventh longer.)
template <bool Writes, class T>
[[gnu::always_inline]] inline void prefetch_rows(const T* data, std::size_t stride,
                                                 std::size_t rows, std::size_t columns) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t n = 0; n < columns; n += cache_line / sizeof(T)) {
      __builtin_prefetch(data + r * stride + n, Writes ? 1 : 0, 3);
    }
  }
}

/// Asks for what a tile's results need besides its products: where they go, and the residual.
template <class T>
[[gnu::always_inline]] inline void prefetch_results(const Epilogue<T>& epilogue,
                                                    const DepthChunk& chunk, std::size_t rows,
                                                    std::size_t columns, const T* out,
                                                    std::size_t out_stride) noexcept {
  prefetch_rows<true>(out, out_stride, rows, columns);
  if (chunk.is_first && epilogue.residual) {
    prefetch_rows<false>(epilogue.residual, epilogue.residual_stride, rows, columns);
  }
}

/// Scaled sums: dots * scale, and where the result starts here plus bias.
template <class T, class Arch, std::size_t Rows, std::size_t Vectors, class Dots>
[[gnu::always_inline]] inline void scale_tile(const Epilogue<T>& epilogue, bool is_first,
                                              const T* scale, const Dots (&dots)[Rows][Vectors],
                                              simd::Batch<T, Arch> (&sum)[Rows][Vectors]) noexcept {
  using B = simd::Batch<T, Arch>;
  const bool has_bias = is_first && epilogue.bias;
  Q2L_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) {
    const B factor = B::load_unaligned(scale + v * B::size);
    const B bias = has_bias ? B::load_unaligned(epilogue.bias + v * B::size) : B(T(0));
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      if constexpr (std::is_same_v<Dots, B>) {
        sum[r][v] = simd::fma<T, Arch>(dots[r][v], factor, bias);
      } else {
        sum[r][v] = simd::fma<T, Arch>(simd::to_float<Arch>(dots[r][v]), factor, bias);
      }
    }
  }
}

/// Adds the products of one group of depth to the sums of a tile.
template <class T, class W, class Arch, std::size_t Rows, std::size_t Vectors, class Left,
          class Sum, std::size_t... Step>
[[gnu::always_inline]] inline void add_group(const Left* const (&left)[Rows], std::size_t k,
                                             const W* b, Sum (&sum)[Rows][Vectors],
                                             std::index_sequence<Step...>) noexcept {
  using Dot = simd::DotProduct<T, W, Arch>;
  constexpr std::size_t lanes = simd::Batch<T, Arch>::size;
  const auto step = [&]<std::size_t S>(std::integral_constant<std::size_t, S>) {
#if defined(__clang__)
    // Else it has what all steps need in registers at once, and spills sums.
    if constexpr (S > 0) asm volatile("" : : : "memory");
#endif
    decltype(Dot::template right<S>(b)) right[Vectors];
    Q2L_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      right[v] = Dot::template right<S>(b + v * lanes * Dot::group);
    }
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      const auto a = Dot::template left<S>(left[r] + k);
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = Dot::add(a, right[v], sum[r][v]);
    }
  };
  (step(std::integral_constant<std::size_t, Step>{}), ...);
}

/// Adds the residual to the first chunk's sums, and to others what earlier ones left in `out`;
/// applies a cheap activation to the last, and stores. The last vector holds `tail` columns.
template <class T, class Arch, std::size_t Rows, std::size_t Vectors>
[[gnu::always_inline]] inline void finish_tile(const Epilogue<T>& epilogue, const DepthChunk& chunk,
                                               std::size_t tail,
                                               simd::Batch<T, Arch> (&sum)[Rows][Vectors], T* out,
                                               std::size_t out_stride) noexcept {
  using B = simd::Batch<T, Arch>;
  constexpr std::size_t lanes = B::size;
  const auto load = [tail](const T* p, std::size_t v) {
    if (v + 1 < Vectors || tail == lanes) return B::load_unaligned(p + v * lanes);
    return simd::load_partial<T, Arch>(p + v * lanes, tail);
  };
  if (const T* const before = chunk.is_first ? epilogue.residual : out) {
    const std::size_t stride = chunk.is_first ? epilogue.residual_stride : out_stride;
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] += load(before + r * stride, v);
    }
  }
  if (chunk.is_last && epilogue.activation.kind == Activation::Kind::leaky_relu) {
    const T slope = static_cast<T>(epilogue.activation.negative_slope);
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      Q2L_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = leaky_relu<T, Arch>(sum[r][v], slope);
    }
  }
  Q2L_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    T* row = out + r * out_stride;
    Q2L_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      if (v + 1 < Vectors || tail == lanes) {
        sum[r][v].store_unaligned(row + v * lanes);
      } else {
        simd::store_partial<T, Arch>(row + v * lanes, sum[r][v], tail);
      }
    }
  }
}

}  // namespace detail

/// One register tile: out[r, n] for Rows rows and the panel's columns, the last of which lies in
/// the last vector. `rows` holds Rows pointers per tap.
template <class T, class W, class Arch, std::size_t Rows, std::size_t Vectors>
void matmul_tile(const typename simd::DotProduct<T, W, Arch>::Left* const* rows,
                 const DepthChunk& chunk, const PanelChunk<T, W>& panel,
                 const Epilogue<T>& epilogue, T* out, std::size_t out_stride) noexcept {
  using B = simd::Batch<T, Arch>;
  using Dot = simd::DotProduct<T, W, Arch>;
  using Sum = typename Dot::Sum;
  constexpr std::size_t lanes = B::size;
  constexpr bool is_scaled = !std::is_same_v<T, W>;
  constexpr bool has_chains = !is_scaled;
  constexpr bool is_exact = !std::is_same_v<Sum, B>;
  assert(panel.columns > (Vectors - 1) * lanes && panel.columns <= Vectors * lanes);
  const std::size_t tail = panel.columns - (Vectors - 1) * lanes;  // lanes of the last vector

  Sum dots[Rows][Vectors];
  Q2L_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) {
    Sum start(0);
    if constexpr (is_exact) {
      if (panel.correction) start = Sum::load_unaligned(panel.correction + v * lanes);
    }
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) dots[r][v] = start;
  }
  if constexpr (!is_scaled) {
    if (chunk.is_first) detail::start_tile<T, Arch>(epilogue, dots);
  }

  detail::prefetch_results(epilogue, chunk, Rows, Vectors * lanes, out, out_stride);
  alignas(cache_line) T finished[Rows * Vectors * lanes];  // sum of the chains that have ended
  bool has_finished = false;
  std::size_t length = 0;
  const std::size_t pieces = chunk.taps * ((chunk.depth + chain_length - 1) / chain_length);
  const std::size_t piece_lines =
      (panel.next.lines + pieces - 1) / std::max<std::size_t>(1, pieces);
  const std::byte* line = panel.next.data;
  for (std::size_t t = 0; t < chunk.taps; ++t) {
    const typename Dot::Left* left[Rows];
    Q2L_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) left[r] = rows[t * Rows + r] + chunk.first_depth;
    const W* b = panel.data + t * panel.tap_stride;
    for (std::size_t begin = 0; begin < chunk.depth; begin += chain_length) {
      for (std::size_t i = 0; i < piece_lines; ++i, line += cache_line)
        __builtin_prefetch(line, 0, 2);
      if constexpr (has_chains) {
        if (length >= chain_length) {
          Q2L_UNROLL
          for (std::size_t r = 0; r < Rows; ++r) {
            Q2L_UNROLL
            for (std::size_t v = 0; v < Vectors; ++v) {
              T* const at = finished + (r * Vectors + v) * lanes;
              if (has_finished) dots[r][v] += B::load_aligned(at);
              dots[r][v].store_aligned(at);
              dots[r][v] = B(T(0));
            }
          }
          has_finished = true;
          length = 0;
        }
      }
      const std::size_t end = std::min(begin + chain_length, chunk.depth);
      length += end - begin;
      std::size_t k = begin;
      do {  // with a loop that may be empty, Clang 19 copies the sums around it and spills some
        detail::add_group<T, W, Arch>(left, k, b, dots, std::make_index_sequence<Dot::steps>{});
        k += Dot::group;
        b += Vectors * lanes * Dot::group;
      } while (k < end);
    }
  }

  if constexpr (has_chains) {
    if (has_finished) {
      Q2L_UNROLL
      for (std::size_t r = 0; r < Rows; ++r) {
        Q2L_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) {
          dots[r][v] += B::load_aligned(finished + (r * Vectors + v) * lanes);
        }
      }
    }
  }
  if constexpr (is_scaled) {
    B sum[Rows][Vectors];
    detail::scale_tile<T, Arch>(epilogue, chunk.is_first, panel.scale, dots, sum);
    detail::finish_tile<T, Arch>(epilogue, chunk, tail, sum, out, out_stride);
  } else {
    detail::finish_tile<T, Arch>(epilogue, chunk, tail, dots, out, out_stride);
  }
}

template <class T, class W, class Arch>
using MatmulTileFunction = void (*)(const typename simd::DotProduct<T, W, Arch>::Left* const*,
                                    const DepthChunk&, const PanelChunk<T, W>&, const Epilogue<T>&,
                                    T*, std::size_t) noexcept;

/// matmul_tile for a tile of `rows` x `vectors`, both known only at run time.
template <class T, class W, class Arch>
inline MatmulTileFunction<T, W, Arch> matmul_tile_function(std::size_t rows,
                                                           std::size_t vectors) noexcept {
  using Tile = MatmulTile<T, Arch>;
  static constexpr auto table = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array{&matmul_tile<T, W, Arch, I / Tile::vectors + 1, I % Tile::vectors + 1>...};
  }
  (std::make_index_sequence<Tile::rows * Tile::vectors>{});
  return table[(rows - 1) * Tile::vectors + vectors - 1];
}

/// Cuts (taps, depth) into chunks (several taps, or part of one, of up to `most` elements) and
/// calls `body(chunk)` for each in order. Parts of a tap begin at whole cache lines of `W`.
template <class W, class Body>
inline void for_each_depth_chunk(std::size_t taps, std::size_t depth, std::size_t most,
                                 Body&& body) {
  if (depth > most) {
    const std::size_t pieces = (depth + most - 1) / most;
    constexpr std::size_t unit = cache_line / sizeof(W);
    const auto start = [&](std::size_t i) {
      return std::min(depth, (depth + unit - 1) / unit * i / pieces * unit);
    };
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t i = 0; i < pieces; ++i) {
        body(DepthChunk{t, 1, start(i), start(i + 1) - start(i), t == 0 && i == 0,
                        t + 1 == taps && i + 1 == pieces});
      }
    }
  } else {
    const std::size_t step = most / std::max<std::size_t>(1, depth);
    for (std::size_t t = 0; t < taps; t += step) {
      const std::size_t count = std::min(step, taps - t);
      body(DepthChunk{t, count, 0, depth, t == 0, t + count == taps});
    }
  }
}

/// The same with chunks of up to `chunk_depth<W>`.
template <class W, class Body>
inline void for_each_depth_chunk(std::size_t taps, std::size_t depth, Body&& body) {
  for_each_depth_chunk<W>(taps, depth, chunk_depth<W>, body);
}

}  // namespace q2l::kernels
