// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/pickle_graph.hpp"
#include "query2label/weights/tensor_entry.hpp"
#include "query2label/weights/torch_storage.hpp"

namespace q2l::detail {

/// The functions of torch._utils by which PyTorch pickles a plain tensor or parameter, and the
/// number of their arguments.
struct TorchRebuild {
  std::string_view function;
  bool wraps_tensor;  ///< the first argument is a tensor; otherwise storage, offset, size, stride
  std::size_t fewest;
  std::size_t most;
};

inline constexpr auto torch_rebuilds = std::to_array<TorchRebuild>({
    {"_rebuild_tensor", false, 4, 4},
    {"_rebuild_tensor_v2", false, 6, 7},
    {"_rebuild_parameter", true, 3, 3},
    {"_rebuild_parameter_with_state", true, 4, 4},
});

/// What a recorded call would have called, for messages.
inline std::string called_function(const PickleGraph& graph, PickleHandle value) {
  if (graph.kind(value) != PickleKind::call) return "a plain value";
  const PickleHandle callee = graph.first(value);
  return graph.kind(callee) == PickleKind::global ? graph.global_name(callee) : "an object's call";
}

/// The function that makes `value` a tensor, or null.
inline const TorchRebuild* find_torch_rebuild(const PickleGraph& graph, PickleHandle value) {
  if (graph.kind(value) != PickleKind::call) return nullptr;
  const auto at =
      std::find_if(torch_rebuilds.begin(), torch_rebuilds.end(), [&](const TorchRebuild& row) {
        return graph.is_global(graph.first(value), "torch._utils", row.function);
      });
  return at == torch_rebuilds.end() ? nullptr : &*at;
}

/// Makes tensors of a pickle's recorded calls.
class TorchTensorReader {
 public:
  TorchTensorReader(const PickleGraph& graph, const TorchStorageSource& source,
                    const Limits& limits)
      : graph_(graph), source_(source), limits_(limits) {}

  /// Throws unsupported_tensor naming what Python would have called (sparse, quantized, a subclass,
  /// an array of numpy), bad_shape, and what reading its storage throws.
  TensorEntry read(PickleHandle value, const std::string& name) const {
    const TorchRebuild* rebuild = require_rebuild(value, name);
    std::vector<PickleHandle> arguments = arguments_of(value, *rebuild, name);
    if (rebuild->wraps_tensor) {
      value = arguments.front();
      rebuild = require_rebuild(value, name);
      if (rebuild->wraps_tensor)
        fail(ErrorCode::unsupported_tensor, "a parameter in a parameter", value, name);
      arguments = arguments_of(value, *rebuild, name);
    }
    if (graph_.kind(arguments[0]) != PickleKind::persistent_id)
      fail(ErrorCode::bad_storage, "the tensor does not refer to a storage", value, name);
    const TorchStorageId id = read_torch_storage_id(graph_, arguments[0]);
    TensorEntry tensor;
    tensor.name = name;
    tensor.dtype = id.dtype;
    tensor.shape = read_counts(arguments[2], value, name);
    tensor.strides = read_counts(arguments[3], value, name);
    // What the seventh says of a plain tensor: nothing. Others are to be conjugated or negated.
    const bool is_plain = arguments.size() < 7 || (graph_.kind(arguments[6]) == PickleKind::dict &&
                                                   graph_.size(arguments[6]) == 0);
    if (!is_plain)
      fail(ErrorCode::unsupported_tensor, "the tensor is a view that changes values", value, name);
    const auto offset = pickled_count(graph_, arguments[1]);
    if (!offset) fail(ErrorCode::bad_shape, "the offset is not a whole number from 0", value, name);
    tensor.storage_offset = *offset;
    const TorchStorage storage = find_torch_storage(id, source_);
    tensor.storage = storage.bytes;
    tensor.file_offset = storage.file_offset;
    tensor.require_valid(limits_);
    return tensor;
  }

 private:
  const TorchRebuild* require_rebuild(PickleHandle value, const std::string& name) const {
    const TorchRebuild* const rebuild = find_torch_rebuild(graph_, value);
    if (rebuild == nullptr)
      throw Error(ErrorCode::unsupported_tensor, "neither a plain tensor nor a parameter",
                  {.subject = name, .actual = called_function(graph_, value)});
    return rebuild;
  }

  std::vector<PickleHandle> arguments_of(PickleHandle call, const TorchRebuild& rebuild,
                                         const std::string& name) const {
    const PickleHandle tuple = graph_.second(call);
    if (graph_.size(tuple) < rebuild.fewest || graph_.size(tuple) > rebuild.most)
      fail(ErrorCode::unsupported_tensor, "the tensor has an unknown number of arguments", call,
           name);
    return graph_.items(tuple);
  }

  std::vector<std::uint64_t> read_counts(PickleHandle tuple, PickleHandle call,
                                         const std::string& name) const {
    if (graph_.kind(tuple) != PickleKind::tuple || graph_.size(tuple) > limits_.tensor_rank)
      fail(ErrorCode::bad_shape, "a shape or its strides are not a short tuple", call, name);
    std::vector<std::uint64_t> out;
    for (const PickleHandle item : graph_.items(tuple)) {
      const auto count = pickled_count(graph_, item);
      if (!count)
        fail(ErrorCode::bad_shape, "a size or stride is not a whole number from 0", call, name);
      out.push_back(*count);
    }
    return out;
  }

  [[noreturn]] void fail(ErrorCode code, std::string_view detail, PickleHandle call,
                         const std::string& name) const {
    throw Error(code, detail, {.offset = graph_.file_offset(call), .subject = name});
  }

  const PickleGraph& graph_;
  const TorchStorageSource& source_;
  const Limits& limits_;
};

}  // namespace q2l::detail
