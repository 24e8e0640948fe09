// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/weights/byte_reader.hpp"

namespace q2l {

/// What a value in a pickle is. Nothing in a pickle is ever called: a `call` only records what
/// Python would have called, and with what.
enum class PickleKind : std::uint8_t {
  none, boolean, integer, big_integer, real, text, bytes,
  tuple, list, set, dict,
  global,         ///< a name in a module: a class or function
  call,           ///< callee and arguments
  persistent_id,  ///< a reference to something outside the pickle: in checkpoints, a storage
};

/// Names a value in a PickleGraph.
using PickleHandle = std::uint32_t;

/// The values of a pickle in one arena, referring to each other by handle: sharing and cycles cost
/// nothing, and no walk or destructor recurses. Text stays in the bytes that were parsed.
class PickleGraph {
 public:
  /// `pickle` lies at `file_offset` of its file and must outlive the graph.
  PickleGraph(std::span<const std::byte> pickle, std::uint64_t file_offset)
      : pickle_(pickle), file_offset_(file_offset) {}

  /// Bytes of the largest pickle whose positions and sizes fit the nodes.
  static constexpr std::uint64_t largest = 0xFFFFFFFF;

  /// Values that every pickle has many of exist once.
  static constexpr PickleHandle none = 0;
  static constexpr PickleHandle no = 1;
  static constexpr PickleHandle yes = 2;
  static constexpr PickleHandle empty_tuple = 3;

  PickleHandle add_integer(std::int64_t value) {
    return add({PickleKind::integer, 0, static_cast<std::uint64_t>(value)});
  }
  PickleHandle add_real(double value) {
    return add({PickleKind::real, 0, std::bit_cast<std::uint64_t>(value)});
  }
  /// `bytes` must lie in the pickle; for text, bytes and big_integer.
  PickleHandle add_bytes(PickleKind kind, std::span<const std::byte> bytes) {
    return add({kind, static_cast<std::uint32_t>(bytes.size()),
                static_cast<std::uint64_t>(bytes.data() - pickle_.data())});
  }
  PickleHandle add_container(PickleKind kind) { return add({kind, 0, 0}); }
  /// A global, call or persistent_id stands at `position` of the pickle.
  PickleHandle add_global(PickleHandle module, PickleHandle name, std::size_t position) {
    globals_.push_back(add_pair(PickleKind::global, module, name, position));
    return globals_.back();
  }
  PickleHandle add_call(PickleHandle callee, PickleHandle arguments, std::size_t position) {
    return add_pair(PickleKind::call, callee, arguments, position);
  }
  PickleHandle add_persistent_id(PickleHandle id, std::size_t position) {
    persistent_ids_.push_back(add_pair(PickleKind::persistent_id, id, none, position));
    return persistent_ids_.back();
  }
  /// Appends to a container; a dict takes keys and values by turns.
  void append(PickleHandle container, PickleHandle item) {
    Node& node = nodes_[container];
    if (node.size == 0) {
      node.value = item;
    } else {
      if (node.size == 1) {
        const std::uint64_t only = add_cell(static_cast<PickleHandle>(node.value));
        node.value = only << 32 | only;
      }
      const std::uint32_t cell = add_cell(item);
      cells_[node.value >> 32].next = cell;
      node.value = (node.value & 0xFFFFFFFFu) | std::uint64_t{cell} << 32;
    }
    ++node.size;
  }

  [[nodiscard]] PickleKind kind(PickleHandle handle) const { return nodes_[handle].kind; }
  [[nodiscard]] std::int64_t integer(PickleHandle handle) const {
    return static_cast<std::int64_t>(nodes_[handle].value);
  }
  [[nodiscard]] double real(PickleHandle handle) const {
    return std::bit_cast<double>(nodes_[handle].value);
  }
  /// Of text, bytes and big_integer.
  [[nodiscard]] std::string_view text(PickleHandle handle) const {
    const Node& node = nodes_[handle];
    return as_text(pickle_.subspan(static_cast<std::size_t>(node.value), node.size));
  }
  /// The items of a container; of a dict, keys and values by turns.
  [[nodiscard]] std::vector<PickleHandle> items(PickleHandle container) const {
    const Node& node = nodes_[container];
    if (node.size == 1) return {static_cast<PickleHandle>(node.value)};
    std::vector<PickleHandle> out;
    out.reserve(node.size);
    auto cell = static_cast<std::uint32_t>(node.value);
    for (std::uint32_t i = 0; i < node.size; ++i, cell = cells_[cell].next)
      out.push_back(cells_[cell].item);
    return out;
  }
  /// The first of `items`; the container must not be empty.
  [[nodiscard]] PickleHandle first_item(PickleHandle container) const {
    const Node& node = nodes_[container];
    const auto at = static_cast<std::uint32_t>(node.value);
    return node.size == 1 ? at : cells_[at].item;
  }
  /// The number of handles that `items` gives.
  [[nodiscard]] std::size_t size(PickleHandle container) const { return nodes_[container].size; }
  /// Module of a global, callee of a call, id of a persistent_id.
  [[nodiscard]] PickleHandle first(PickleHandle pair) const {
    return static_cast<PickleHandle>(nodes_[pair].value);
  }
  /// Name of a global, arguments of a call.
  [[nodiscard]] PickleHandle second(PickleHandle pair) const {
    return static_cast<PickleHandle>(nodes_[pair].value >> 32);
  }
  /// Where a global, call or persistent_id stands in the file.
  [[nodiscard]] std::uint64_t file_offset(PickleHandle pair) const {
    return file_offset_ + nodes_[pair].size;
  }
  /// Whether the value is a global of that module whose name begins so.
  [[nodiscard]] bool is_global_like(PickleHandle value, std::string_view module,
                                    std::string_view name_start) const {
    return kind(value) == PickleKind::global && text(first(value)) == module &&
           text(second(value)).starts_with(name_start);
  }
  /// Whether the value is exactly that global.
  [[nodiscard]] bool is_global(PickleHandle value, std::string_view module,
                               std::string_view name) const {
    return is_global_like(value, module, name) && text(second(value)).size() == name.size();
  }
  /// "module.name" of a global.
  [[nodiscard]] std::string global_name(PickleHandle global) const {
    return std::string(text(first(global))) + "." + std::string(text(second(global)));
  }
  [[nodiscard]] bool is_container(PickleHandle handle) const {
    return kind(handle) >= PickleKind::tuple && kind(handle) <= PickleKind::dict;
  }
  /// Every mention of a class or function, in the order of the pickle.
  [[nodiscard]] std::span<const PickleHandle> globals() const { return globals_; }
  /// Every persistent_id, in the order of the pickle.
  [[nodiscard]] std::span<const PickleHandle> persistent_ids() const { return persistent_ids_; }

 private:
  /// `size` counts bytes or items, or is a position; `value` is a number, a position, two handles,
  /// a container's only item, or the first and last cell of its list.
  struct Node {
    PickleKind kind;
    std::uint32_t size;
    std::uint64_t value;
  };
  struct Cell {
    PickleHandle item;
    std::uint32_t next;
  };

  PickleHandle add_pair(PickleKind kind, PickleHandle first, PickleHandle second,
                        std::size_t position) {
    return add({kind, static_cast<std::uint32_t>(position), std::uint64_t{second} << 32 | first});
  }
  std::uint32_t add_cell(PickleHandle item) {
    cells_.push_back({item, 0});
    return static_cast<std::uint32_t>(cells_.size() - 1);
  }
  PickleHandle add(const Node& node) {
    nodes_.push_back(node);
    return static_cast<PickleHandle>(nodes_.size() - 1);
  }

  std::span<const std::byte> pickle_;
  std::uint64_t file_offset_;
  std::deque<Node> nodes_{{PickleKind::none, 0, 0},
                          {PickleKind::boolean, 0, 0},
                          {PickleKind::boolean, 0, 1},
                          {PickleKind::tuple, 0, 0}};
  std::deque<Cell> cells_;
  std::vector<PickleHandle> globals_;
  std::vector<PickleHandle> persistent_ids_;
};

}  // namespace q2l
