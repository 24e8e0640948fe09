// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/core/parallel_for.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/dtype.hpp"
#include "query2label/weights/element_conversion.hpp"

namespace q2l {

/// A shape as messages print it, for example "[80, 2048]".
inline std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (const std::uint64_t extent : shape)
    out += (out.size() > 1 ? ", " : "") + std::to_string(extent);
  return out + "]";
}

/// The number of elements of a shape; bad_shape naming `tensor` where it does not fit 64 bits.
inline std::uint64_t count_elements(std::span<const std::uint64_t> shape,
                                    const std::string& tensor) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) {
    const auto product = checked_mul(count, extent);
    if (!product)
      throw Error(ErrorCode::bad_shape, "the shape has too many elements",
                  {.subject = tensor, .actual = shape_text(shape)});
    count = *product;
  }
  return count;
}

/// The strides, in elements, of a row-major tensor.
inline std::vector<std::uint64_t> row_major_strides(std::span<const std::uint64_t> shape) {
  std::vector<std::uint64_t> strides(shape.size());
  std::uint64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= std::max<std::uint64_t>(shape[d], 1);
  }
  return strides;
}

/// A tensor in a file: a strided view of the bytes of a storage, which it may share with others.
/// The bytes stay in the file and must outlive the entry.
struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  ///< elements
  std::span<const std::byte> storage;  ///< little-endian elements, at any alignment
  std::uint64_t storage_offset = 0;    ///< of the first element in the storage, elements
  std::uint64_t file_offset = 0;       ///< of the storage in the file, bytes

  [[nodiscard]] std::uint64_t element_count() const { return count_elements(shape, name); }

  /// Throws bad_shape unless every element lies in the storage and the tensor is not an oversized
  /// repetition of a small storage. `read` relies on it.
  void require_valid(const Limits& limits) const {
    if (shape.size() > limits.tensor_rank) fail("the tensor has too many dimensions");
    if (strides.size() != shape.size()) fail("the tensor has unequal numbers of sizes and strides");
    const std::uint64_t count = element_count();
    if (count == 0) return;
    std::uint64_t last = storage_offset;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const auto reach = checked_mul(shape[d] - 1, strides[d]);
      const auto sum = reach ? checked_add(last, *reach) : std::nullopt;
      if (!sum) fail("the strides reach too far");
      last = *sum;
    }
    const std::uint64_t stored = storage.size() / size_of(dtype);
    if (last >= stored)
      throw Error(ErrorCode::bad_shape, "the tensor reaches past its storage",
                  {.offset = file_offset,
                   .subject = name,
                   .expected = "at most " + std::to_string(stored) + " elements",
                   .actual = "element " + std::to_string(last)});
    if (count > stored && count > limits.expanded_tensor_elements)
      fail("the tensor repeats a small storage too often");
  }

  /// The elements in row-major order, converted with at most one rounding. `to` holds
  /// element_count(). Throws non_finite, naming tensor, flat index and file offset, for a value
  /// that is NaN or infinite or becomes so in T.
  template <std::floating_point T>
  void read_into(std::span<T> to, const Threads& threads = {}) const {
    if (to.size() != element_count())
      throw Error(ErrorCode::bad_argument, "the destination has another size", {.subject = name});
    detail::visit_dtype(dtype, [&](auto stored) { read_as<decltype(stored)>(to, threads); });
  }

  template <std::floating_point T>
  [[nodiscard]] std::vector<T> read(const Threads& threads = {}) const {
    std::vector<T> out(static_cast<std::size_t>(element_count()));
    read_into(std::span<T>(out), threads);
    return out;
  }

  /// The bytes of the elements where these lie in row-major order, else nothing.
  [[nodiscard]] std::optional<std::span<const std::byte>> row_major_bytes() const {
    const std::size_t size = size_of(dtype);
    const auto count = static_cast<std::size_t>(element_count());
    if (count == 0) return storage.first(0);
    const Run run = longest_run();
    if (run.length != count || (run.stride != 1 && count > 1)) return std::nullopt;
    return storage.subspan(static_cast<std::size_t>(storage_offset) * size, count * size);
  }

  /// The elements where they lie, if that is in row-major order and as T; else nothing. Throws
  /// non_finite as `read_into` does.
  template <std::floating_point T>
  [[nodiscard]] std::optional<std::span<const T>> read_in_place(const Threads& threads = {}) const {
    const auto bytes = row_major_bytes();
    const bool is_aligned =
        bytes && reinterpret_cast<std::uintptr_t>(bytes->data()) % alignof(T) == 0;
    if (!is_aligned || dtype != dtype_of<T>()) return std::nullopt;
    const std::span<const T> elements(reinterpret_cast<const T*>(bytes->data()),
                                      bytes->size() / sizeof(T));
    const std::size_t bad =
        find_in_blocks(threads, elements.size(), [&](std::size_t first, std::size_t count) {
          return detail::find_non_finite(elements.data() + first, count);
        });
    if (bad != elements.size()) fail_non_finite(bad, storage_offset + bad);
    return elements;
  }

 private:
  [[noreturn]] void fail(std::string_view detail) const {
    throw Error(ErrorCode::bad_shape, detail,
                {.offset = file_offset,
                 .subject = name,
                 .actual = "shape " + shape_text(shape) + ", strides " + shape_text(strides)});
  }

  /// Copies runs along the last dimension, or along all of them where they are adjacent; checks
  /// each block while it is in the cache.
  template <class Stored, class T>
  void read_as(std::span<T> to, const Threads& threads) const {
    if (to.empty()) return;
    const auto [run, stride] = longest_run();
    std::vector<std::uint64_t> index(shape.size(), 0);
    std::uint64_t start = storage_offset;
    for (std::size_t done = 0; done < to.size(); done += run) {
      const auto read_block = [&, step = stride](std::size_t first, std::size_t count) {
        T* const out = to.data() + done + first;
        detail::convert_elements<Stored>(storage.data() + (start + first * step) * sizeof(Stored),
                                         step * sizeof(Stored), count, out);
        return detail::find_non_finite(out, count);
      };
      const std::size_t bad = find_in_blocks(threads, run, read_block);
      if (bad != run) fail_non_finite(done + bad, start + bad * stride);
      start = next_run(index, start, run);
    }
  }

  /// The index of the first of `count` elements that `find(first, block_count)` finds in a block of
  /// them (as an index in the block), or `count`. Every block in front of it has been searched.
  template <class Find>
  static std::size_t find_in_blocks(const Threads& threads, std::size_t count, const Find& find) {
    constexpr std::size_t block = 4096;  // elements: half of a 32 KiB first-level cache in float
    constexpr std::size_t blocks_of_a_task = 64;
    const std::size_t blocks = (count + block - 1) / block;
    std::atomic<std::size_t> found{count};
    threads.parallel_for(
        (blocks + blocks_of_a_task - 1) / blocks_of_a_task, [&](std::size_t task, std::size_t) {
          const std::size_t end = std::min((task + 1) * blocks_of_a_task * block, count);
          for (std::size_t i = task * blocks_of_a_task * block; i < end; i += block) {
            const std::size_t size = std::min(block, end - i);
            const std::size_t at = find(i, size);
            if (at == size) continue;
            std::size_t first = found;
            while (i + at < first && !found.compare_exchange_weak(first, i + at)) {
            }
            return;
          }
        });
    return found;
  }

  struct Run {
    std::size_t length;
    std::size_t stride;
  };

  /// The trailing dimensions that can be walked with one stride.
  [[nodiscard]] Run longest_run() const {
    std::size_t length = 1;
    std::size_t stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (shape[d] == 1) continue;
      if (length == 1) {
        stride = static_cast<std::size_t>(strides[d]);
      } else if (strides[d] != length * stride) {
        break;
      }
      length *= static_cast<std::size_t>(shape[d]);
    }
    return {length, stride};
  }

  /// Steps `index` over the dimensions outside a run of `run` elements; returns the next run's
  /// start.
  std::uint64_t next_run(std::vector<std::uint64_t>& index, std::uint64_t start,
                         std::size_t run) const {
    std::uint64_t inside = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (inside < run) {
        inside *= shape[d];
        continue;
      }
      start += strides[d];
      if (++index[d] < shape[d]) return start;
      start -= strides[d] * shape[d];
      index[d] = 0;
    }
    return start;
  }

  [[noreturn]] void fail_non_finite(std::size_t flat_index, std::uint64_t element) const {
    throw Error(ErrorCode::non_finite, "a value is NaN, infinite or beyond float",
                {.offset = file_offset + element * size_of(dtype),
                 .subject = name,
                 .actual = "element " + std::to_string(flat_index)});
  }
};

}  // namespace q2l
