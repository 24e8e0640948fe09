// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "query2label/core/aligned_buffer.hpp"

namespace q2l {

/// Elements that never change, with any number of owners: the values of a tensor, the packed
/// weights of a layer, a range of a mapped file.
///
/// Or only their number, while they are still to come (`is_known()` is false). A layer made from
/// such values checks their sizes and leaves its own buffers to come: so the layers of a packed
/// model file are laid out before their buffers are found in it.
template <class T>
class SharedBuffer {
 public:
  SharedBuffer() = default;
  // Implicit, as a span's would be.
  SharedBuffer(AlignedBuffer<T>&& values) : SharedBuffer(own(std::move(values))) {}
  SharedBuffer(std::vector<T>&& values) : SharedBuffer(own(std::move(values))) {}
  /// A view: the caller keeps the memory.
  SharedBuffer(const std::vector<T>& values) : SharedBuffer(std::span<const T>(values)) {}
  SharedBuffer(std::span<const T> values) : SharedBuffer(nullptr, values) {}
  /// A view of memory that exists as long as `owner`.
  SharedBuffer(std::shared_ptr<const void> owner, std::span<const T> values)
      : data_(std::move(owner), values.data()), size_(values.size()) {}

  /// `count` elements that are not known yet.
  [[nodiscard]] static SharedBuffer to_come(std::size_t count) {
    SharedBuffer buffer;
    buffer.size_ = count;
    return buffer;
  }

  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] bool is_known() const noexcept { return size_ == 0 || data_ != nullptr; }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return is_known() ? data() + size_ : nullptr; }
  const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
  operator std::span<const T>() const noexcept {
    assert(is_known());
    return {data(), size_};
  }

  /// Elements `first` .. `first + count - 1`, with the same owners.
  [[nodiscard]] SharedBuffer part(std::size_t first, std::size_t count) const {
    assert(first + count <= size_);
    if (!is_known()) return to_come(count);
    SharedBuffer buffer = *this;
    buffer.data_ = std::shared_ptr<const T>(data_, data() + first);
    buffer.size_ = count;
    return buffer;
  }

  /// The same elements in aligned memory of their own. Throws std::bad_alloc.
  [[nodiscard]] SharedBuffer copy() const {
    if (!is_known()) return *this;
    AlignedBuffer<T> elements(size_);
    std::copy(begin(), end(), elements.data());
    return elements;
  }

  friend bool operator==(const SharedBuffer& a, const SharedBuffer& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  template <class Owner>
  static SharedBuffer own(Owner&& values) {
    const auto owner = std::make_shared<const Owner>(std::move(values));
    return {owner, std::span<const T>(owner->data(), owner->size())};
  }

  std::shared_ptr<const T> data_;
  std::size_t size_ = 0;
};

}  // namespace q2l
