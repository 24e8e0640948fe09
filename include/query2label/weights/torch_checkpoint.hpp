// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/pickle.hpp"
#include "query2label/weights/state_dict.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/torch_legacy.hpp"
#include "query2label/weights/torch_storage.hpp"
#include "query2label/weights/torch_tensor.hpp"
#include "query2label/weights/weight_options.hpp"
#include "query2label/weights/zip_archive.hpp"

namespace q2l {

/// The tensors of a file by torch.save. Their bytes stay in the file.
struct TorchCheckpoint {
  std::vector<TensorEntry> tensors;
  std::string state_dict;           ///< which was picked; empty: the file itself is one
  std::vector<std::string> others;  ///< state dicts of the same names that were passed over
  std::set<std::string>
      foreign_globals;        ///< classes and functions of neither PyTorch nor its containers
  bool has_checksums = true;  ///< whether damage to the tensors would have been seen
};

namespace detail {

/// Throws limit_exceeded where tensors that share storages, or repeat their own, have too many more
/// elements than there are: each is to be read into memory of its own.
inline void require_stored(const std::vector<TensorEntry>& tensors, const Limits& limits) {
  std::set<const std::byte*> storages;
  std::uint64_t stored = 0, elements = 0;
  for (const TensorEntry& tensor : tensors) {
    if (storages.insert(tensor.storage.data()).second)
      stored += tensor.storage.size() / size_of(tensor.dtype);
    elements += tensor.element_count();
    if (elements > stored && elements - stored > limits.expanded_tensor_elements)
      throw Error(ErrorCode::limit_exceeded, "the tensors repeat what is stored too often",
                  {.subject = tensor.name,
                   .expected = "at most " + std::to_string(stored) + " elements and " +
                               std::to_string(limits.expanded_tensor_elements) + " repeated ones",
                   .actual = std::to_string(elements)});
  }
}

/// Picks the state dict of a parsed checkpoint and makes its tensors. Entries that are no tensors
/// are passed over, but for arrays of numpy; storages of other tensors are not looked at.
inline TorchCheckpoint read_state_dict(const Pickle& pickle, const TorchStorageSource& source,
                                       const Limits& limits, const TorchOptions& options) {
  const PickleGraph& graph = pickle.graph;
  const std::vector<StateDict> found = StateDictSearch(graph).run(pickle.root);
  const StateDict picked = pick_state_dict(graph, found, options.state_dict, limits);
  TorchCheckpoint out;
  out.state_dict = picked.where;
  for (const StateDict& other : found)
    if (other.where != picked.where) out.others.push_back(other.where);
  for (const PickleHandle global : graph.globals()) {
    const std::string_view module = graph.text(graph.first(global));
    if (module != "torch" && !module.starts_with("torch.") && module != "collections")
      out.foreign_globals.insert(graph.global_name(global));
  }
  const TorchTensorReader reader(graph, source, limits);
  const std::vector<PickleHandle> items = graph.items(picked.dict);
  for (std::size_t i = 0; i < items.size(); i += 2) {
    if (graph.kind(items[i]) != PickleKind::text) continue;
    const std::string name(graph.text(items[i]));
    if (name == average_counter) continue;
    if (items[i + 1] == picked.dict)
      throw Error(ErrorCode::cycle, "a state dict contains itself", {.subject = name});
    if (is_some_tensor(graph, items[i + 1]) || is_numpy_array(graph, items[i + 1]))
      out.tensors.push_back(reader.read(items[i + 1], name));
  }
  require_stored(out.tensors, limits);
  return out;
}

/// The records around the pickle in a ZIP by torch.save.
class TorchZip {
 public:
  TorchZip(std::span<const std::byte> file, const Limits& limits)
      : archive_(file, limits), pickle_(find_pickle()) {
    folder_ = pickle_.name.substr(0, pickle_.name.size() - pickle_name.size());
    const std::string constants = record("constants.pkl");
    const std::string code = record("code/");
    for (const ZipEntry& entry : archive_.entries())
      if (entry.name == constants || entry.name.starts_with(code))
        throw Error(ErrorCode::unsupported, "a TorchScript program, not a checkpoint",
                    {.subject = std::string(entry.name)});
    check_byte_order();
    check_version();
  }

  [[nodiscard]] const ZipEntry& pickle() const noexcept { return pickle_; }
  [[nodiscard]] bool has_checksums() const noexcept { return archive_.has_checksums(); }

  /// The bytes of a storage, verified once where that is asked for.
  TorchStorage storage(const TorchStorageId& id, bool verify) {
    const ZipEntry* const entry = archive_.find(record("data/" + std::string(id.key)));
    if (entry == nullptr)
      throw Error(ErrorCode::bad_storage, "the archive does not hold the storage",
                  {.subject = std::string(id.key)});
    const bool first_time = verify && verified_.insert(entry).second;
    return {ZipArchive::contents(*entry, first_time), entry->file_offset};
  }

 private:
  static constexpr std::string_view pickle_name = "data.pkl";

  /// The one entry of that name in any folder.
  [[nodiscard]] const ZipEntry& find_pickle() const {
    const ZipEntry* found = nullptr;
    for (const ZipEntry& entry : archive_.entries()) {
      if (entry.name != pickle_name && !entry.name.ends_with("/data.pkl")) continue;
      if (found != nullptr)
        throw Error(ErrorCode::ambiguous, "the archive holds two checkpoints",
                    {.subject = std::string(found->name), .actual = std::string(entry.name)});
      found = &entry;
    }
    if (found == nullptr)
      throw Error(ErrorCode::missing_entry, "a ZIP archive, but not one by torch.save",
                  {.subject = "data.pkl"});
    return *found;
  }

  [[nodiscard]] std::string record(std::string_view name) const {
    return std::string(folder_) + std::string(name);
  }

  void check_byte_order() const {
    const ZipEntry* const entry = archive_.find(record("byteorder"));
    if (entry == nullptr) return;  // written since PyTorch 2.1
    const std::string_view order = as_text(ZipArchive::contents(*entry));
    if (order == "little") return;
    throw Error(order == "big" ? ErrorCode::unsupported : ErrorCode::bad_header,
                "the byte order is not little",
                {.offset = entry->file_offset,
                 .subject = std::string(entry->name),
                 .actual = std::string(order)});
  }

  void check_version() const {
    constexpr int newest = 10;  // PyTorch's kMaxSupportedFileFormatVersion
    const ZipEntry* const entry = archive_.find(record("version"));
    if (entry == nullptr) return;
    std::string_view text = as_text(ZipArchive::contents(*entry));
    if (text.ends_with('\n')) text.remove_suffix(1);
    int version = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
    const bool number = error == std::errc() && end == text.data() + text.size() && version > 0;
    if (number && version <= newest) return;
    throw Error(number ? ErrorCode::unsupported : ErrorCode::bad_header,
                "the format version is not supported",
                {.offset = entry->file_offset,
                 .subject = std::string(entry->name),
                 .expected = "at most " + std::to_string(newest),
                 .actual = std::string(text)});
  }

  ZipArchive archive_;
  const ZipEntry& pickle_;
  std::string_view folder_;
  std::set<const ZipEntry*> verified_;
};

}  // namespace detail

/// Reads a checkpoint of PyTorch 1.6 or newer. Throws what ZipArchive, parse_pickle and the
/// tensors' checks throw, and missing_entry, ambiguous, cycle, unsupported.
inline TorchCheckpoint read_torch_zip(std::span<const std::byte> file, const Limits& limits = {},
                                      const TorchOptions& options = {}) {
  detail::TorchZip zip(file, limits);
  const ZipEntry& entry = zip.pickle();
  const Pickle pickle = parse_pickle(ZipArchive::contents(entry), entry.file_offset, limits);
  if (pickle.size != entry.data.size())
    throw Error(ErrorCode::bad_opcode, "bytes follow the end of the pickle",
                {.offset = entry.file_offset + pickle.size, .subject = std::string(entry.name)});
  const detail::TorchStorageSource source = [&](const detail::TorchStorageId& id) {
    return zip.storage(id, options.verify);
  };
  TorchCheckpoint out = detail::read_state_dict(pickle, source, limits, options);
  out.has_checksums = zip.has_checksums();
  return out;
}

/// Reads a checkpoint of PyTorch before 1.6, or of `_use_new_zipfile_serialization=False`: pickles
/// of a magic number, the protocol, the system, the object and the list of storages, then the
/// storages.
inline TorchCheckpoint read_torch_legacy(std::span<const std::byte> file, const Limits& limits = {},
                                         const TorchOptions& options = {}) {
  const detail::TorchLegacyStream stream(file, limits);
  const detail::TorchStorageSource source = [&](const detail::TorchStorageId& id) {
    return stream.storage(id);
  };
  return detail::read_state_dict(stream.checkpoint(), source, limits, options);
}

}  // namespace q2l
