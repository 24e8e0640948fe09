// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/machine_threads.hpp"
#include "query2label/core/shared_buffer.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/weights/mapped_file.hpp"
#include "query2label/weights/packed_layout.hpp"
#include "query2label/weights/precision_plan.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/weight_file.hpp"
#include "query2label/weights/weight_options.hpp"

namespace q2l {

/// The named tensors a model is built from. Loading checks the file's structure; values are read,
/// converted and checked when the builder takes them. Tensors that are missing, of another shape or
/// left over are collected, so that `finish` reports all of them at once. For one thread at a time.
class WeightMap {
 public:
  using Shape = std::vector<std::uint64_t>;

  /// No tensors, for `add`.
  explicit WeightMap(const WeightOptions& options)
      : workers_(options.threads), runner_(options.runner) {}
  WeightMap() = default;

  /// Adds the tensors of a file and remembers all else about it. Throws duplicate_name.
  void add(WeightFile&& file) {
    source_ = std::move(file);
    for (TensorEntry& tensor : std::exchange(source_.tensors, {}))
      insert({std::move(tensor), nullptr, false});
  }

  /// Adds a tensor whose values are made when it is taken, and forgotten again.
  void add(std::string name, Shape shape, std::function<std::vector<float>()> values) {
    TensorEntry entry;
    entry.name = std::move(name);
    entry.shape = std::move(shape);
    insert({std::move(entry), std::move(values), false});
  }

  /// The file whose tensors were added, without them; of format `memory` if there is none.
  [[nodiscard]] const WeightFile& source() const noexcept { return source_; }
  /// The threads that read tensors, and that may pack them.
  [[nodiscard]] Threads threads() {
    if (workers_ == 0) workers_ = machine_threads();
    if (runner_ == nullptr && workers_ > 1) {
      pool_ = std::make_unique<ThreadPool>(workers_);
      runner_ = pool_.get();
    }
    return {runner_, workers_};
  }

  [[nodiscard]] bool contains(std::string_view name) const { return slots_.contains(name); }
  /// Sorted.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, slot] : slots_) out.push_back(name);
    return out;
  }
  /// Throws missing_tensor.
  [[nodiscard]] const Shape& shape(std::string_view name) const { return find(name).entry.shape; }
  /// The tensor as it lies in the file; without bytes if it was added. Throws missing_tensor.
  [[nodiscard]] const TensorEntry& entry(std::string_view name) const { return find(name).entry; }

  /// In which precision layers are to be computed; f32 unless set.
  [[nodiscard]] const PrecisionPlan& precision() const noexcept { return precision_; }
  void set_precision(PrecisionPlan plan) { precision_ = std::move(plan); }

  /// The values of a tensor in row-major order, which counts as used: where they lie in the file,
  /// as long as somebody owns them, or converted. Those of a packed file are to come, all of them.
  /// Where the tensor is missing or of another shape, that is remembered for `finish` and zeros are
  /// returned. Throws non_finite, and at once what `finish` would where more zeros were asked for
  /// than all tensors together have elements.
  template <std::floating_point T>
  [[nodiscard]] SharedBuffer<T> take(std::string_view name, const Shape& expected) {
    const auto at = slots_.find(name);
    if (at == slots_.end()) {
      missing_.emplace_back(name);
      return stand_in<T>(name, expected);
    }
    Slot& slot = at->second;
    slot.used = true;
    if (slot.entry.shape != expected) {
      misshapen_.push_back({at->first, expected, slot.entry.shape});
      return stand_in<T>(name, expected);
    }
    if (source_.packed)
      return SharedBuffer<T>::to_come(static_cast<std::size_t>(slot.entry.element_count()));
    if (slot.values) return generate<T>(slot);
    SharedBuffer<T> out;
    naming_file([&] { out = read<T>(slot.entry); });
    if (slot.entry.dtype == Dtype::i8) return scale_rows<T>(name, expected, out);
    return out;
  }

  /// Marks a tensor as used that the model can compute itself; it need not be there.
  void ignore(std::string_view name) {
    if (const auto at = slots_.find(name); at != slots_.end()) at->second.used = true;
  }

  /// To be called when a model has taken all it needs. Throws one error that counts and names (the
  /// first five of each kind) the tensors missing, of another shape, and unexpected, its code being
  /// that of the first kind that occurred; file_changed if the file was written to meanwhile.
  void finish() const {
    if (source_.mapping) source_.mapping->check_unchanged();
    std::vector<std::string> unexpected;
    for (const auto& [name, slot] : slots_)
      if (!slot.used) unexpected.push_back(name);
    if (!missing_.empty() || !misshapen_.empty() || !unexpected.empty()) fail(unexpected);
  }

 private:
  struct Slot {
    TensorEntry entry;
    std::function<std::vector<float>()> values;  ///< where the tensor is not in a file
    bool used = false;
  };
  struct Misshapen {
    std::string name;
    Shape expected;
    Shape actual;
  };

  /// Runs `work`; its errors name the file, and memory that runs out becomes an error, too.
  template <class Work>
  void naming_file(Work&& work) const try {
    with_memory_error("no memory for the weights", path(), work);
  } catch (const Error& error) {
    throw error.in_file(path());
  }

  /// Each row of an int8 tensor times its element of NAME_scale [rows], if that is there.
  template <class T>
  SharedBuffer<T> scale_rows(std::string_view name, const Shape& shape,
                             const SharedBuffer<T>& values) {
    const std::string scale_name = std::string(name) + "_scale";
    if (shape.empty() || !contains(scale_name)) return values;
    const SharedBuffer<T> scale = take<T>(scale_name, {shape[0]});
    AlignedBuffer<T> scaled(values.size());
    const std::size_t columns = values.size() / std::max<std::size_t>(scale.size(), 1);
    for (std::size_t i = 0; i < values.size(); ++i) scaled[i] = values[i] * scale[i / columns];
    const std::size_t bad = detail::find_non_finite(scaled.data(), scaled.size());
    if (bad < scaled.size())
      throw Error(ErrorCode::non_finite, "a value is infinite once it is scaled",
                  {.path = path(),
                   .subject = std::string(name),
                   .actual = "element " + std::to_string(bad)});
    return scaled;
  }

  [[nodiscard]] std::string path() const {
    return source_.mapping ? source_.mapping->path() : std::string();
  }

  void insert(Slot&& slot) {
    const std::string name = slot.entry.name;
    const std::uint64_t count = slot.entry.element_count();
    elements_ = checked_add(elements_, count).value_or(std::numeric_limits<std::uint64_t>::max());
    if (!slots_.emplace(name, std::move(slot)).second)
      throw Error(ErrorCode::duplicate_name, "two tensors have this name", {.subject = name});
  }

  [[nodiscard]] const Slot& find(std::string_view name) const {
    const auto at = slots_.find(name);
    if (at == slots_.end())
      throw Error(ErrorCode::missing_tensor, "there is no such tensor",
                  {.path = path(), .subject = std::string(name)});
    return at->second;
  }

  /// For a tensor that does not fit: zeros, so that the others are checked, too. A wrong
  /// configuration must not make us ask for more memory than its weights would take, all stand-ins
  /// together. Where values are to come, these are as well: a layer that knows one of its tensors
  /// would read the others.
  template <class T>
  SharedBuffer<T> stand_in(std::string_view name, const Shape& expected) {
    const std::uint64_t count = count_elements(expected, std::string(name));
    constexpr std::uint64_t little = 1u << 16;  // so that small files have all their faults listed
    const auto sum = checked_add(stand_in_elements_, count);
    if (!sum || *sum > std::max(elements_, little)) fail({});
    stand_in_elements_ = *sum;
    if (source_.packed) return SharedBuffer<T>::to_come(static_cast<std::size_t>(count));
    return std::vector<T>(static_cast<std::size_t>(count));
  }

  /// The pages of a tensor are given back when its values are no longer used.
  template <class T>
  SharedBuffer<T> read(const TensorEntry& entry) {
    if (const auto values = entry.read_in_place<T>(threads())) {
      const auto give_back = [file = source_.mapping, bytes = std::as_bytes(*values)](const void*) {
        file->release_pages(bytes);
      };
      return {std::shared_ptr<const void>(values->data(), give_back), *values};
    }
    SharedBuffer<T> values = entry.read<T>(threads());
    if (const auto bytes = entry.row_major_bytes()) source_.mapping->release_pages(*bytes);
    return values;
  }

  template <class T>
  SharedBuffer<T> generate(const Slot& slot) {
    const std::vector<float> made = slot.values();
    TensorEntry entry = slot.entry;
    entry.strides = row_major_strides(entry.shape);
    entry.storage = std::as_bytes(std::span(made));
    if (made.size() != entry.element_count())
      throw Error(ErrorCode::size_mismatch, "the generated values do not fit the shape",
                  {.subject = entry.name,
                   .expected = std::to_string(entry.element_count()),
                   .actual = std::to_string(made.size())});
    return entry.template read<T>(threads());
  }

  [[noreturn]] void fail(const std::vector<std::string>& unexpected) const {
    std::vector<std::string> misshapen;
    for (const Misshapen& tensor : misshapen_)
      misshapen.push_back(tensor.name + " " + shape_text(tensor.actual) + " instead of " +
                          shape_text(tensor.expected));
    std::string detail = "the weights do not fit the model";
    std::string_view separator = ": ";
    const auto tell = [&](const std::vector<std::string>& tensors, std::string_view what) {
      constexpr std::size_t shown = 5;
      if (tensors.empty()) return;
      detail +=
          std::string(separator) + std::to_string(tensors.size()) + " " + std::string(what) + " (";
      for (std::size_t i = 0; i < std::min(tensors.size(), shown); ++i)
        detail += (i > 0 ? ", " : "") + printable(tensors[i]);
      if (tensors.size() > shown) detail += ", ...";
      detail += ")";
      separator = "; ";
    };
    tell(missing_, "missing");
    tell(misshapen, "of another shape");
    tell(unexpected, "unexpected");
    ErrorPlace place{.path = path()};
    ErrorCode code = ErrorCode::unexpected_tensor;
    if (!missing_.empty()) {
      code = ErrorCode::missing_tensor;
      place.subject = missing_.front();
    } else if (!misshapen_.empty()) {
      code = ErrorCode::shape_mismatch;
      place.subject = misshapen_.front().name;
      place.expected = shape_text(misshapen_.front().expected);
      place.actual = shape_text(misshapen_.front().actual);
    } else {
      place.subject = unexpected.front();
    }
    throw Error(code, detail, std::move(place));
  }

  std::size_t workers_ = 0;
  TaskRunner* runner_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  WeightFile source_;
  PrecisionPlan precision_;
  std::map<std::string, Slot, std::less<>> slots_;
  std::uint64_t elements_ = 0;           ///< of all tensors together
  std::uint64_t stand_in_elements_ = 0;  ///< of what was given for tensors that do not fit
  std::vector<std::string> missing_;
  std::vector<Misshapen> misshapen_;
};

}  // namespace q2l
