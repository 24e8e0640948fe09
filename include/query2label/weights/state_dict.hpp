// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/pickle_graph.hpp"
#include "query2label/weights/tensor_names.hpp"
#include "query2label/weights/torch_tensor.hpp"

namespace q2l::detail {

/// A dictionary of named tensors inside a checkpoint.
struct StateDict {
  std::string where;  ///< keys on the way to it joined by dots; empty: the checkpoint itself
  PickleHandle dict;
};

/// Where trainers put the model's tensors, in the order of preference.
inline constexpr auto state_dict_keys =
    std::to_array<std::string_view>({"state_dict", "model", "model_state_dict", "state_dict_ema",
                                     "model_ema", "ema_state_dict", "net", "ema", "module"});

/// The counter that torch.optim.swa_utils.AveragedModel keeps beside the tensors of its module.
inline constexpr std::string_view average_counter = "n_averaged";

/// Whether `value` is a tensor, also of kinds that are not supported, so that messages can say
/// which.
inline bool is_some_tensor(const PickleGraph& graph, PickleHandle value) {
  if (graph.kind(value) != PickleKind::call) return false;
  const PickleHandle callee = graph.first(value);
  return graph.is_global_like(callee, "torch._utils", "_rebuild") ||
         graph.is_global_like(callee, "torch._tensor", "_rebuild");
}

/// Whether `value` is an array of numpy, which may have been meant as weights.
inline bool is_numpy_array(const PickleGraph& graph, PickleHandle value) {
  if (graph.kind(value) != PickleKind::call) return false;
  const PickleHandle callee = graph.first(value);
  return graph.is_global(callee, "numpy.core.multiarray", "_reconstruct") ||
         graph.is_global(callee, "numpy._core.multiarray", "_reconstruct");
}

/// Searches a checkpoint for dictionaries that hold tensors: those under the usual keys first, the
/// outermost one only where there is none.
class StateDictSearch {
 public:
  explicit StateDictSearch(const PickleGraph& graph) : graph_(graph) {}

  /// All that are found, the preferred one first. Throws cycle.
  std::vector<StateDict> run(PickleHandle root) {
    visit(root, "");
    return std::move(found_);
  }

 private:
  static constexpr std::size_t deepest = 4;

  // Recursion is bounded by `deepest`; a dictionary that was seen is not searched again.
  void visit(PickleHandle value, const std::string& where) {
    if (graph_.kind(value) != PickleKind::dict) return;
    if (std::find(path_.begin(), path_.end(), value) != path_.end())
      throw Error(ErrorCode::cycle, "a dictionary contains itself", {.subject = where});
    const bool seen = std::find(seen_.begin(), seen_.end(), value) != seen_.end();
    if (seen || path_.size() == deepest) return;
    seen_.push_back(value);
    path_.push_back(value);
    const std::size_t before = found_.size();
    const std::vector<PickleHandle> items = graph_.items(value);
    bool holds_tensor = false;
    std::array<PickleHandle, state_dict_keys.size()> nested{};
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      holds_tensor = holds_tensor || is_some_tensor(graph_, items[i + 1]);
      if (graph_.kind(items[i]) != PickleKind::text) continue;
      const auto key =
          std::find(state_dict_keys.begin(), state_dict_keys.end(), graph_.text(items[i]));
      if (key != state_dict_keys.end())
        nested[static_cast<std::size_t>(key - state_dict_keys.begin())] = items[i + 1];
    }
    for (std::size_t k = 0; k < nested.size(); ++k)
      visit(nested[k], where + (where.empty() ? "" : ".") + std::string(state_dict_keys[k]));
    if (found_.size() == before && holds_tensor) found_.push_back({where, value});
    path_.pop_back();
  }

  const PickleGraph& graph_;
  std::vector<PickleHandle> path_;
  std::vector<PickleHandle> seen_;
  std::vector<StateDict> found_;
};

/// The names in a state dict without the prefixes that wrappers put before them, sorted. Throws
/// limit_exceeded, bad_encoding and duplicate_name.
inline std::vector<std::string_view> bare_names(const PickleGraph& graph,
                                                const StateDict& state_dict, const Limits& limits) {
  if (graph.size(state_dict.dict) / 2 > limits.tensors)
    throw Error(
        ErrorCode::limit_exceeded, "too many tensors",
        {.subject = state_dict.where, .expected = "at most " + std::to_string(limits.tensors)});
  std::vector<std::string_view> names;
  const std::vector<PickleHandle> items = graph.items(state_dict.dict);
  for (std::size_t i = 0; i < items.size(); i += 2)
    if (graph.kind(items[i]) == PickleKind::text && graph.text(items[i]) != average_counter) {
      names.push_back(graph.text(items[i]));
      require_tensor_name(names.back(), limits);
    }
  const std::size_t prefix = common_prefix_length(names);
  for (std::string_view& name : names) name.remove_prefix(prefix);
  sort_distinct(names, "two tensors have this name");
  return names;
}

/// Picks the state dict called `wanted`, or, where that is empty, the preferred one. Throws
/// missing_entry where there is none, ambiguous where another one holds other tensors: then
/// somebody must choose.
inline StateDict pick_state_dict(const PickleGraph& graph, const std::vector<StateDict>& found,
                                 std::string_view wanted, const Limits& limits) {
  std::string all;
  for (const StateDict& candidate : found)
    all +=
        (all.empty() ? "" : ", ") + (candidate.where.empty() ? "the file itself" : candidate.where);
  if (!wanted.empty()) {
    const auto chosen = std::find_if(found.begin(), found.end(),
                                     [&](const StateDict& c) { return c.where == wanted; });
    if (chosen == found.end())
      throw Error(ErrorCode::missing_entry, "the checkpoint has no such state dict",
                  {.subject = std::string(wanted), .actual = all});
    bare_names(graph, *chosen, limits);  // for what it refuses
    return *chosen;
  }
  if (found.empty()) {
    std::string keys;
    for (const std::string_view key : state_dict_keys)
      keys += (keys.empty() ? "" : ", ") + std::string(key);
    throw Error(
        ErrorCode::missing_entry,
        "no dictionary of tensors in the checkpoint; save model.state_dict(), not the model",
        {.expected = "at the top or under " + keys});
  }
  const std::vector<std::string_view> names = bare_names(graph, found.front(), limits);
  for (std::size_t i = 1; i < found.size(); ++i)
    if (bare_names(graph, found[i], limits) != names)
      throw Error(ErrorCode::ambiguous,
                  "the checkpoint has several state dicts of different tensors; name the one "
                  "to use (--state-dict, TorchOptions::state_dict)",
                  {.actual = all});
  return found.front();
}

}  // namespace q2l::detail
