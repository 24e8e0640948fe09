// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/json_document.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/tensor_names.hpp"

namespace q2l {

/// What a safetensors file holds. The tensors' bytes stay in the file.
struct Safetensors {
  std::vector<TensorEntry> tensors;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
};

namespace detail {

/// Reads the header of a safetensors file member by member, then checks that the tensors tile the
/// data.
class SafetensorsParser {
 public:
  SafetensorsParser(std::span<const std::byte> file, const Limits& limits)
      : file_(file), limits_(limits) {}

  Safetensors parse() {
    ByteReader reader(file_);
    const auto header_bytes = reader.read<std::uint64_t>();
    if (header_bytes > limits_.safetensors_header_bytes)
      throw Error(ErrorCode::limit_exceeded, "the header's length is out of bounds",
                  {.offset = 0,
                   .expected = "at most " + std::to_string(limits_.safetensors_header_bytes),
                   .actual = std::to_string(header_bytes)});
    if (header_bytes > reader.remaining())
      throw Error(ErrorCode::bad_header,
                  "the header ends beyond the file, which is cut or of another kind",
                  {.offset = 0,
                   .expected = std::to_string(header_bytes) + " bytes",
                   .actual = std::to_string(reader.remaining())});
    std::string_view header = as_text(reader.take(header_bytes));
    data_offset_ = reader.offset();
    data_ = reader.take(reader.remaining());
    while (header.ends_with(' ')) header.remove_suffix(1);
    if (!header.starts_with('{') || !header.ends_with('}'))
      throw Error(ErrorCode::bad_header, "the header is not a JSON object with nothing around it",
                  {.offset = length_bytes});
    read_header(header);
    lay_out();
    return std::move(result_);
  }

 private:
  static constexpr std::uint64_t length_bytes = 8;
  static constexpr std::uint64_t values_of_a_member = 10'000;

  /// A tensor's range of the data, before it is known to be sound.
  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
    std::size_t tensor;
  };

  void read_header(std::string_view header) try {
    const JsonBounds bounds{limits_.safetensors_header_bytes, limits_.json_depth,
                            values_of_a_member};
    for_each_json_member(header, bounds, length_bytes,
                         [this](std::string&& name, const nlohmann::json& value) {
                           if (name == "__metadata__") {
                             read_metadata(value);
                           } else {
                             read_tensor(std::move(name), value);
                           }
                         });
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_json) throw;
    throw Error(ErrorCode::bad_header, error.detail(), error.place());
  }

  void read_metadata(const nlohmann::json& value) {
    if (has_metadata_)
      throw Error(ErrorCode::duplicate_name, "the header has it twice",
                  {.subject = "__metadata__"});
    has_metadata_ = true;
    if (!value.is_object())
      throw Error(ErrorCode::bad_header, "not an object of strings", {.subject = "__metadata__"});
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string())
        throw Error(ErrorCode::bad_header, "a metadata value is not a string", {.subject = key});
      auto& string = text.get_ref<const std::string&>();
      if (string.size() > limits_.metadata_value_bytes)
        throw Error(
            ErrorCode::limit_exceeded, "a metadata value is too long",
            {.subject = key,
             .expected = "at most " + std::to_string(limits_.metadata_value_bytes) + " bytes",
             .actual = std::to_string(string.size())});
      result_.metadata.emplace(key, string);
    }
  }

  void read_tensor(std::string&& name, const nlohmann::json& value) {
    if (result_.tensors.size() >= limits_.tensors)
      throw Error(ErrorCode::limit_exceeded, "too many tensors",
                  {.expected = "at most " + std::to_string(limits_.tensors)});
    require_tensor_name(name, limits_);
    if (!value.is_object())
      throw Error(ErrorCode::bad_header, "a tensor's entry is not an object", {.subject = name});
    TensorEntry tensor;
    tensor.name = std::move(name);
    tensor.dtype = read_dtype(value, tensor.name);
    tensor.shape = read_shape(value, tensor.name);
    const auto size = checked_mul(tensor.element_count(), size_of(tensor.dtype));
    if (!size)
      throw Error(ErrorCode::bad_shape, "the shape has too many elements",
                  {.subject = tensor.name, .actual = shape_text(tensor.shape)});
    tensor.strides = row_major_strides(tensor.shape);
    const Range range = read_range(value, tensor.name);
    if (range.end - range.begin != *size)
      throw Error(ErrorCode::size_mismatch, "the data range does not fit the shape",
                  {.subject = tensor.name,
                   .expected = std::to_string(*size) + " bytes",
                   .actual = std::to_string(range.end - range.begin)});
    ranges_.push_back(range);
    result_.tensors.push_back(std::move(tensor));
  }

  static Dtype read_dtype(const nlohmann::json& entry, const std::string& tensor) {
    const auto member = entry.find("dtype");
    if (member == entry.end() || !member->is_string())
      throw Error(ErrorCode::bad_dtype, "the entry has no dtype", {.subject = tensor});
    auto& name = member->get_ref<const std::string&>();
    const auto dtype = dtype_named(name);
    if (!dtype)
      throw Error(ErrorCode::bad_dtype, "an element type that is not supported",
                  {.subject = tensor, .actual = name});
    return *dtype;
  }

  std::vector<std::uint64_t> read_shape(const nlohmann::json& entry,
                                        const std::string& tensor) const {
    const auto member = entry.find("shape");
    if (member == entry.end() || !member->is_array() || member->size() > limits_.tensor_rank)
      throw Error(
          ErrorCode::bad_shape, "the shape is not a list of sizes",
          {.subject = tensor, .expected = "at most " + std::to_string(limits_.tensor_rank)});
    std::vector<std::uint64_t> shape;
    for (const nlohmann::json& extent : *member) {
      if (!extent.is_number_unsigned())
        throw Error(ErrorCode::bad_shape, "a size is not a whole number from 0",
                    {.subject = tensor});
      shape.push_back(extent.get<std::uint64_t>());
    }
    return shape;
  }

  Range read_range(const nlohmann::json& entry, const std::string& tensor) const {
    const auto member = entry.find("data_offsets");
    const auto is_offset = [](const nlohmann::json& value) { return value.is_number_unsigned(); };
    if (member == entry.end() || !member->is_array() || member->size() != 2 ||
        !std::all_of(member->begin(), member->end(), is_offset))
      throw Error(ErrorCode::bad_offset, "data_offsets is not a pair of whole numbers from 0",
                  {.subject = tensor});
    const Range range{(*member)[0].get<std::uint64_t>(), (*member)[1].get<std::uint64_t>(),
                      result_.tensors.size()};
    if (range.begin > range.end)
      throw Error(ErrorCode::bad_offset, "data_offsets ends before it begins", {.subject = tensor});
    return range;
  }

  /// Sorts the tensors by their bytes, which must fill the data without holes or overlaps.
  void lay_out() {
    std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::vector<TensorEntry> sorted;
    sorted.reserve(ranges_.size());
    std::uint64_t filled = 0;
    for (const Range& range : ranges_) {
      TensorEntry& tensor = result_.tensors[range.tensor];
      if (range.begin != filled)
        throw Error(range.begin < filled ? ErrorCode::overlap : ErrorCode::bad_offset,
                    range.begin < filled ? "the tensor overlaps another"
                                         : "bytes before the tensor belong to none",
                    {.offset = data_offset_ + filled,
                     .subject = tensor.name,
                     .expected = "begin " + std::to_string(filled),
                     .actual = std::to_string(range.begin)});
      if (range.end > data_.size())
        throw Error(ErrorCode::truncated,
                    "the file ends inside the tensor; it is probably incomplete",
                    {.offset = data_offset_ + data_.size(),
                     .subject = tensor.name,
                     .expected = std::to_string(range.end) + " bytes of data",
                     .actual = std::to_string(data_.size())});
      tensor.storage = data_.subspan(static_cast<std::size_t>(range.begin),
                                     static_cast<std::size_t>(range.end - range.begin));
      tensor.file_offset = data_offset_ + range.begin;
      filled = range.end;
      sorted.push_back(std::move(tensor));
    }
    if (filled != data_.size())
      throw Error(ErrorCode::bad_offset, "bytes behind the last tensor belong to none",
                  {.offset = data_offset_ + filled,
                   .expected = std::to_string(filled) + " bytes of data",
                   .actual = std::to_string(data_.size())});
    result_.tensors = std::move(sorted);
    refuse_repeated_names();
  }

  void refuse_repeated_names() const {
    std::vector<std::string_view> names;
    names.reserve(result_.tensors.size());
    for (const TensorEntry& tensor : result_.tensors) names.push_back(tensor.name);
    detail::sort_distinct(names, "two tensors have this name");
  }

  std::span<const std::byte> file_;
  Limits limits_;
  std::span<const std::byte> data_;
  std::uint64_t data_offset_ = 0;
  std::vector<Range> ranges_;
  bool has_metadata_ = false;
  Safetensors result_;
};

}  // namespace detail

/// Reads a safetensors file: 8 bytes little-endian header length, JSON header, row-major data
/// without holes or overlaps. Throws truncated, bad_header, limit_exceeded, bad_encoding,
/// bad_shape, bad_dtype, bad_offset, size_mismatch, overlap, duplicate_name. The entries refer to
/// `file`.
inline Safetensors parse_safetensors(std::span<const std::byte> file, const Limits& limits = {}) {
  return detail::SafetensorsParser(file, limits).parse();
}

}  // namespace q2l
