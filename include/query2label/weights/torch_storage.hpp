// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/dtype.hpp"
#include "query2label/weights/pickle_graph.hpp"

namespace q2l::detail {

/// What a pickle says of a storage: ('storage', class, key, location, count [, view]). The
/// location, a device, does not matter here.
struct TorchStorageId {
  /// A part of a storage, as files of PyTorch before 0.4 name it; elements.
  struct View {
    std::uint64_t offset;
    std::uint64_t count;
  };
  Dtype dtype;
  std::string_view key;
  std::uint64_t count;  ///< elements of the whole storage
  std::optional<View> view;
};

/// The bytes of a storage.
struct TorchStorage {
  std::span<const std::byte> bytes;
  std::uint64_t file_offset;
};

/// Finds the bytes of a whole storage, or throws bad_storage.
using TorchStorageSource = std::function<TorchStorage(const TorchStorageId&)>;

/// The element type of a storage class such as torch.FloatStorage.
inline std::optional<Dtype> torch_storage_dtype(std::string_view module, std::string_view name) {
  constexpr auto classes = std::to_array<std::pair<std::string_view, Dtype>>({
      {"HalfStorage", Dtype::f16},
      {"BFloat16Storage", Dtype::bf16},
      {"FloatStorage", Dtype::f32},
      {"DoubleStorage", Dtype::f64},
      {"LongStorage", Dtype::i64},
      {"IntStorage", Dtype::i32},
      {"ShortStorage", Dtype::i16},
      {"CharStorage", Dtype::i8},
      {"ByteStorage", Dtype::u8},
      {"BoolStorage", Dtype::boolean},
  });
  if (module != "torch" && module != "torch.cuda") return std::nullopt;
  for (const auto& [known, dtype] : classes)
    if (known == name) return dtype;
  return std::nullopt;
}

/// A whole number from 0, or nothing.
inline std::optional<std::uint64_t> pickled_count(const PickleGraph& graph, PickleHandle handle) {
  if (graph.kind(handle) != PickleKind::integer || graph.integer(handle) < 0) return std::nullopt;
  return static_cast<std::uint64_t>(graph.integer(handle));
}

/// Reads a persistent_id as that of a storage. Throws bad_storage, bad_dtype, size_mismatch.
inline TorchStorageId read_torch_storage_id(const PickleGraph& graph, PickleHandle reference) {
  constexpr std::size_t longest_key = 128;  // real ones are numbers of at most 20 digits
  const PickleHandle id = graph.first(reference);
  const std::uint64_t file_offset = graph.file_offset(reference);
  const auto fail = [&](ErrorCode code, std::string_view detail, std::string_view subject = {}) {
    throw Error(code, detail, {.offset = file_offset, .subject = std::string(subject)});
  };
  const bool tuple = graph.kind(id) == PickleKind::tuple;
  if (!tuple || (graph.size(id) != 5 && graph.size(id) != 6))
    fail(ErrorCode::bad_storage, "a reference that is not a storage");
  const std::vector<PickleHandle> fields = graph.items(id);
  const auto is_text = [&](std::size_t i) { return graph.kind(fields[i]) == PickleKind::text; };
  if (!is_text(0) || graph.text(fields[0]) != "storage" ||
      graph.kind(fields[1]) != PickleKind::global || !is_text(2) ||
      graph.text(fields[2]).size() > longest_key)
    fail(ErrorCode::bad_storage, "a reference that is not a storage");
  const std::string_view key = graph.text(fields[2]);
  const PickleHandle storage_class = fields[1];
  const auto dtype = torch_storage_dtype(graph.text(graph.first(storage_class)),
                                         graph.text(graph.second(storage_class)));
  if (!dtype)
    throw Error(ErrorCode::bad_dtype, "a storage class that is not supported",
                {.offset = file_offset,
                 .subject = std::string(key),
                 .actual = graph.global_name(storage_class)});
  const auto count = pickled_count(graph, fields[4]);
  if (!count || !checked_mul(*count, size_of(*dtype)))
    fail(ErrorCode::size_mismatch, "the storage's size is impossible", key);
  TorchStorageId out{*dtype, key, *count, std::nullopt};
  if (fields.size() == 6 && fields[5] != PickleGraph::none) {
    const bool triple = graph.kind(fields[5]) == PickleKind::tuple && graph.size(fields[5]) == 3;
    const auto view =
        triple ? graph.items(fields[5]) : std::vector<PickleHandle>(3, PickleGraph::none);
    const auto offset = pickled_count(graph, view[1]);
    const auto length = pickled_count(graph, view[2]);
    if (!offset || !length || *offset > *count || *length > *count - *offset)
      fail(ErrorCode::bad_storage, "a view that is not inside its storage", key);
    out.view = TorchStorageId::View{*offset, *length};
  }
  return out;
}

/// The bytes that `id` means. Throws size_mismatch where the storage has another size than `id`
/// says.
inline TorchStorage find_torch_storage(const TorchStorageId& id, const TorchStorageSource& source) {
  const TorchStorage whole = source(id);
  const std::uint64_t element = size_of(id.dtype);
  if (whole.bytes.size() != id.count * element)
    throw Error(ErrorCode::size_mismatch, "the storage has another size than the pickle says",
                {.offset = whole.file_offset,
                 .subject = std::string(id.key),
                 .expected = std::to_string(id.count * element) + " bytes",
                 .actual = std::to_string(whole.bytes.size())});
  if (!id.view) return whole;
  const std::uint64_t begin = id.view->offset * element;
  return {whole.bytes.subspan(static_cast<std::size_t>(begin),
                              static_cast<std::size_t>(id.view->count * element)),
          whole.file_offset + begin};
}

}  // namespace q2l::detail
