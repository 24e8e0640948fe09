// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/pickle.hpp"
#include "query2label/weights/torch_storage.hpp"

namespace q2l::detail {

/// The stream that torch.save wrote before PyTorch 1.6.
class TorchLegacyStream {
 public:
  TorchLegacyStream(std::span<const std::byte> file, const Limits& limits)
      : reader_(file), limits_(limits), checkpoint_((read_preamble(), next_pickle())) {
    locate_storages();
  }

  [[nodiscard]] const Pickle& checkpoint() const noexcept { return checkpoint_; }

  [[nodiscard]] TorchStorage storage(const TorchStorageId& id) const {
    const auto at = storages_.find(id.key);
    if (at == storages_.end())
      throw Error(ErrorCode::bad_storage, "the file does not hold the storage",
                  {.subject = std::string(id.key)});
    return at->second;
  }

 private:
  Pickle next_pickle() {
    ByteReader ahead = reader_;
    // What follows a pickle may be gigabytes of storages, which do not count as its size.
    const std::uint64_t window = std::min<std::uint64_t>(ahead.remaining(), limits_.pickle_bytes);
    Pickle pickle = parse_pickle(ahead.take(window), reader_.offset(), limits_);
    reader_.take(pickle.size);
    return pickle;
  }

  void read_preamble() {
    constexpr std::string_view magic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
    constexpr std::int64_t protocol_version = 1001;
    const Pickle number = next_pickle();
    if (number.graph.kind(number.root) != PickleKind::big_integer ||
        number.graph.text(number.root) != magic)
      throw Error(ErrorCode::bad_magic, "a Python pickle, but not one by torch.save",
                  {.offset = 0});
    const std::uint64_t version_offset = reader_.offset();
    const Pickle version = next_pickle();
    if (version.graph.kind(version.root) != PickleKind::integer ||
        version.graph.integer(version.root) != protocol_version)
      throw Error(ErrorCode::unsupported, "an unknown version of the stream format",
                  {.offset = version_offset, .expected = std::to_string(protocol_version)});
    const std::uint64_t system_offset = reader_.offset();
    const Pickle system = next_pickle();
    if (system.graph.kind(system.root) != PickleKind::dict)
      throw Error(ErrorCode::bad_header, "the description of the system is not a dictionary",
                  {.offset = system_offset});
    const auto items = system.graph.items(system.root);
    for (std::size_t i = 0; i < items.size(); i += 2)
      if (system.graph.kind(items[i]) == PickleKind::text &&
          system.graph.text(items[i]) == "little_endian" && items[i + 1] == PickleGraph::yes)
        return;
    throw Error(ErrorCode::unsupported, "the file was not written on a little-endian machine",
                {.offset = system_offset});
  }

  /// Whether a reference is to the source of a module that was saved whole; it has no bytes here.
  [[nodiscard]] bool is_module(PickleHandle reference) const {
    const PickleGraph& graph = checkpoint_.graph;
    const PickleHandle id = graph.first(reference);
    if (graph.kind(id) != PickleKind::tuple || graph.size(id) == 0) return false;
    const PickleHandle kind = graph.items(id).front();
    return graph.kind(kind) == PickleKind::text && graph.text(kind) == "module";
  }

  /// The storages follow the list of their keys, each as a count of elements and the elements. The
  /// sizes of the elements are known from the references in the checkpoint.
  void locate_storages() {
    std::map<std::string_view, Dtype> dtypes;
    for (const PickleHandle reference : checkpoint_.graph.persistent_ids()) {
      if (is_module(reference)) continue;
      const TorchStorageId storage = read_torch_storage_id(checkpoint_.graph, reference);
      dtypes.emplace(storage.key, storage.dtype);
    }
    const std::uint64_t list_offset = reader_.offset();
    const Pickle keys = next_pickle();
    if (keys.graph.kind(keys.root) != PickleKind::list)
      throw Error(ErrorCode::bad_storage, "the keys of the storages are not a list",
                  {.offset = list_offset});
    for (const PickleHandle item : keys.graph.items(keys.root)) {
      const bool text = keys.graph.kind(item) == PickleKind::text;
      const auto known = text ? dtypes.find(keys.graph.text(item)) : dtypes.end();
      if (known == dtypes.end())
        throw Error(
            ErrorCode::bad_storage, "a storage that the checkpoint does not refer to",
            {.offset = list_offset, .subject = text ? std::string(keys.graph.text(item)) : ""});
      const auto bytes = checked_mul(reader_.read<std::uint64_t>(), size_of(known->second));
      if (!bytes)
        throw Error(ErrorCode::size_mismatch, "the storage's size is impossible",
                    {.offset = reader_.offset(), .subject = std::string(known->first)});
      const std::uint64_t offset = reader_.offset();
      if (!storages_.emplace(known->first, TorchStorage{reader_.take(*bytes), offset}).second)
        throw Error(ErrorCode::bad_storage, "a storage is listed twice",
                    {.offset = list_offset, .subject = std::string(known->first)});
    }
    if (reader_.remaining() != 0)
      throw Error(ErrorCode::bad_offset, "bytes follow the last storage",
                  {.offset = reader_.offset()});
  }

  ByteReader reader_;
  Limits limits_;
  Pickle checkpoint_;
  std::map<std::string_view, TorchStorage, std::less<>> storages_;  ///< keys lie in the file
};

}  // namespace q2l::detail
