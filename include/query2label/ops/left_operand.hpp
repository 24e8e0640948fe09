// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "query2label/core/aligned_buffer.hpp"
#include "query2label/core/bfloat16.hpp"
#include "query2label/core/context.hpp"
#include "query2label/core/precision.hpp"
#include "query2label/core/tensor.hpp"
#include "query2label/kernels/left_operand_kernel.hpp"
#include "query2label/kernels/tiled_rows.hpp"
#include "query2label/ops/packed_weights.hpp"
#include "query2label/simd/amx_tiles.hpp"
#include "query2label/simd/dot_product.hpp"

namespace q2l::ops {

/// What a product needs of its left operand.
struct LeftOperandForm {
  std::size_t padding = 0;    ///< pixels of zeros around each image of a map
  std::size_t tile_step = 0;  ///< pixels from one row of a tile to the next; 0 where none is read
  std::size_t spare = 0;      ///< pixels behind the last one, the first of them of zeros

  bool operator==(const LeftOperandForm&) const = default;
};

/// The left operand of a product, in workspace memory: a map of pixels, or a matrix as a map of one
/// line, in the form in which the product reads it. Layers write it one after the other:
///
///   const LeftOperand<T, Arch> hidden(context, linear2.weights, rows);
///   linear(context, linear1, x, hidden);  linear(context, linear2, hidden, y);
///
/// Where `reader` wants other numbers than T's, its left operands are narrow and written once, by
/// the layer before it and while its results are still in the cache, instead of being read again
/// and converted: the same bits for less memory and less of its traffic.
template <class T, class Arch>
class LeftOperand {
 public:
  /// Room for `rows` left rows of `reader`, whose depth is that of one tap.
  LeftOperand(const Context& context, const PackedWeights<T, Arch>& reader, std::size_t rows)
      : LeftOperand(context, reader, {nullptr, 1, 1, rows, reader.layout().depth}, row_form()) {}

  /// Room for a map of the size of `size`, whose data is not used, in the form of `reader`. While
  /// an observer wants to see values it holds T's.
  LeftOperand(const Context& context, const PackedWeights<T, Arch>& reader,
              const FeatureMap<const T>& size, const LeftOperandForm& form)
      : LeftOperand(context, context.observer ? Precision::f32 : reader.precision(),
                    reader.quantization(), size, form) {}

  /// The same for numbers of `precision`.
  LeftOperand(const Context& context, Precision precision, const Quantization& quantization,
              const FeatureMap<const T>& size, const LeftOperandForm& form)
      : map_(nullptr, size.batch, size.height, size.width, size.channels),
        precision_(is_narrow_in(precision) ? precision : Precision::f32),
        quantization_(quantization),
        form_(form) {
    if (!is_narrow()) {
      map_.data = context.workspace.template take<T>(map_.pixel_count() * map_.channels);
      return;
    }
    pixel_ = map_.channels;
    if (form.tile_step > 0) {
      pixel_ = kernels::tiled_pixel_bytes(pixel_ * element_size(), form.tile_step) / element_size();
    }
    line_ = (map_.width + 2 * form.padding) * pixel_;
    image_ = (map_.height + 2 * form.padding) * line_;
    first_ = form.padding * (line_ + pixel_);
    data_ = context.workspace.template take<std::byte>((map_.batch * image_ + form.spare * pixel_) *
                                                       element_size());
    if (context.is_planning()) return;
    if (form.padding > 0) fill_border(context, form.padding);
    if (form.spare > 0) fill_zeros(map_.batch * image_, 1);
  }

  /// A map of T's.
  [[nodiscard]] static LeftOperand plain(const Context& context, const FeatureMap<const T>& size) {
    return {context, Precision::f32, {}, size, {}};
  }

  /// The form in which products read rows.
  [[nodiscard]] static constexpr LeftOperandForm row_form() noexcept {
    if (!simd::has_amx<T, bfloat16, Arch>) return {};
    // The last tile is read to its end.
    return {.tile_step = 1, .spare = simd::tile_rows};
  }

  [[nodiscard]] bool is_narrow() const noexcept { return precision_ != Precision::f32; }
  /// Whether a narrow one is as the product with `reader` reads it in `form`.
  [[nodiscard]] bool is_for(const PackedWeights<T, Arch>& reader,
                            const LeftOperandForm& form) const noexcept {
    return precision_ == reader.precision() && quantization_ == reader.quantization() &&
           form_ == form;
  }
  /// The map; without data where it is narrow.
  [[nodiscard]] const FeatureMap<T>& map() const noexcept { return map_; }

  /// A narrow one's elements, of the type of the product's left operands, those of pixel (n, y, x)
  /// at `data() + n * image_stride() + y * line_stride() + x * pixel_stride()`; with a border that
  /// is the pixel `padding` above and left of it.
  template <class Left>
  [[nodiscard]] Left* data() const noexcept {
    return reinterpret_cast<Left*>(data_);
  }
  [[nodiscard]] std::size_t pixel_stride() const noexcept { return pixel_; }
  [[nodiscard]] std::size_t line_stride() const noexcept { return line_; }
  [[nodiscard]] std::size_t image_stride() const noexcept { return image_; }
  /// The pixel of zeros behind the last one, where the form has spare ones.
  template <class Left>
  [[nodiscard]] const Left* zeros() const noexcept {
    return data<Left>() + map_.batch * image_;
  }

  /// Writes `values` to the pixels from number `pixel` on, from channel `channel` on.
  void store(std::size_t pixel, std::size_t channel, Matrix<const T> values) const noexcept {
    if (!is_narrow()) {
      for (std::size_t r = 0; r < values.rows; ++r) {
        std::copy_n(values.row(r), values.columns, map_.pixels().row(pixel + r) + channel);
      }
      return;
    }
    // Padding follows the last channel.
    const std::size_t padding =
        channel + values.columns == map_.channels ? pixel_ - map_.channels : 0;
    std::size_t x = pixel % map_.width;
    std::size_t y = pixel / map_.width % map_.height;
    std::size_t n = pixel / map_.width / map_.height;
    for (std::size_t r = 0; r < values.rows; ++r) {
      const std::size_t at = first_ + n * image_ + y * line_ + x * pixel_ + channel;
      convert(values.row(r), values.columns, at, padding);
      if (++x < map_.width) continue;
      x = 0;
      if (++y < map_.height) continue;
      y = 0;
      ++n;
    }
  }

  /// Writes all pixels, which `row_source` gives (see kernels::StridedRows).
  template <class RowSource>
  void fill(const Context& context, const RowSource& row_source) const {
    if (context.is_planning()) return;
    constexpr std::size_t block = 16;
    const std::size_t count = map_.pixel_count();
    context.parallel_for((count + block - 1) / block, [&](std::size_t task, std::size_t) {
      const T* table[block];
      const std::size_t first = task * block;
      const std::size_t own = std::min(block, count - first);
      row_source.pointers(first, own, 0, 1, table);
      for (std::size_t i = 0; i < own; ++i) {
        store(first + i, 0, {table[i], 1, map_.channels});
      }
    });
  }

 private:
  template <class W>
  using LeftOf = typename simd::DotProduct<T, W, Arch>::Left;

  /// Whether this processor has narrow left operands for weights in bf16.
  static constexpr bool has_bfloat16 = std::is_same_v<T, float> && simd::multiplies_bfloat16<Arch>;

  /// In double, too, where numbers are rounded as narrow ones are: the reference of those.
  static constexpr bool is_narrow_in(Precision precision) noexcept {
    if (std::is_same_v<T, double>) return precision != Precision::f32;
    return precision == Precision::int8 || (precision == Precision::bf16 && has_bfloat16);
  }

  /// Calls `body` with a null pointer to the type of the weights.
  template <class Body>
  void visit(Body&& body) const {
    if constexpr (std::is_same_v<T, double>) {
      body(static_cast<const T*>(nullptr));
    } else {
      if constexpr (has_bfloat16) {
        if (precision_ == Precision::bf16) return body(static_cast<const bfloat16*>(nullptr));
      }
      body(static_cast<const std::int8_t*>(nullptr));
    }
  }
  [[nodiscard]] std::size_t element_size() const {
    std::size_t size = 0;
    visit([&]<class W>(const W*) { size = sizeof(LeftOf<W>); });
    return size;
  }

  /// Converts a pixel's elements to element `at`, with zeros behind them.
  void convert(const T* values, std::size_t count, std::size_t at,
               std::size_t padding) const noexcept {
    visit([&]<class W>(const W*) {
      using Left = LeftOf<W>;
      Left* const to = data<Left>() + at;
      if constexpr (std::is_same_v<T, double>) {
        kernels::round_left_row(values, count, precision_, quantization_, to);
      } else {
        kernels::convert_left_row<W, Arch>(values, count, quantization_, to);
      }
      std::fill_n(to + count, padding, Left{});
    });
  }

  /// Writes what 0 becomes to the channels of `pixels` pixels from element `at` on.
  void fill_zeros(std::size_t at, std::size_t pixels) const noexcept {
    visit([&]<class W>(const W*) {
      const T zero(0);
      convert(&zero, 1, at, 0);
      auto* const to = data<LeftOf<W>>() + at;
      for (std::size_t i = 0; i < pixels; ++i) {
        std::fill_n(to + i * pixel_, map_.channels, *to);
        std::fill_n(to + i * pixel_ + map_.channels, pixel_ - map_.channels, LeftOf<W>{});
      }
    });
  }

  void fill_border(const Context& context, std::size_t padding) const {
    const std::size_t height = map_.height + 2 * padding;
    context.parallel_for(map_.batch * height, [&](std::size_t row, std::size_t) {
      const std::size_t y = row % height - padding;  // wraps above the top
      const std::size_t at = row * line_;
      if (y >= map_.height) return fill_zeros(at, line_ / pixel_);
      fill_zeros(at, padding);
      fill_zeros(at + line_ - padding * pixel_, padding);
    });
  }

  FeatureMap<T> map_;
  Precision precision_;
  Quantization quantization_;
  LeftOperandForm form_;
  std::byte* data_ = nullptr;
  std::size_t pixel_ = 0, line_ = 0, image_ = 0;  ///< strides in elements
  std::size_t first_ = 0;                         ///< element of the first pixel
};

/// The pixels of an operand as a matrix; without data where it is narrow.
template <class T>
Matrix<T> shape_of(const Matrix<T>& matrix) noexcept {
  return matrix;
}
template <class T, class Arch>
Matrix<T> shape_of(const LeftOperand<T, Arch>& operand) noexcept {
  return operand.map().pixels();
}

/// An operand as a map; without data where it is narrow.
template <class T>
FeatureMap<T> map_of(const FeatureMap<T>& map) noexcept {
  return map;
}
template <class T, class Arch>
FeatureMap<T> map_of(const LeftOperand<T, Arch>& operand) noexcept {
  return operand.map();
}

}  // namespace q2l::ops
