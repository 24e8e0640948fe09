// SPDX-License-Identifier: MIT
// Pickles one behind the other, as PyTorch wrote them before 1.6: each for itself, as a checkpoint
// whose storages lie anywhere, and all of them as that stream.
#include "query2label/weights/pickle.hpp"

#include <string_view>
#include <vector>

#include "fuzz/check.hpp"
#include "fuzz/check_tensors.hpp"
#include "query2label/weights/torch_checkpoint.hpp"

namespace {

using q2l::PickleHandle;
using q2l::PickleKind;

/// Walks over everything that can be reached from the root.
void check_graph(const q2l::Pickle& pickle, std::span<const std::byte> bytes) {
  using namespace q2l::fuzz;
  const q2l::PickleGraph& graph = pickle.graph;
  std::vector<bool> seen;
  std::vector<PickleHandle> ahead{pickle.root};
  const auto visit = [&](PickleHandle handle) {
    if (handle >= seen.size()) seen.resize(handle + std::size_t{1});
    if (!seen[handle]) ahead.push_back(handle);
    seen[handle] = true;
  };
  while (!ahead.empty()) {
    const PickleHandle handle = ahead.back();
    ahead.pop_back();
    switch (graph.kind(handle)) {
      case PickleKind::text:
      case PickleKind::bytes:
      case PickleKind::big_integer:
        check_inside(std::as_bytes(std::span(graph.text(handle))), bytes);
        break;
      case PickleKind::tuple:
      case PickleKind::list:
      case PickleKind::set:
      case PickleKind::dict:
        check(graph.items(handle).size() == graph.size(handle), "a container has its size");
        check(graph.kind(handle) != PickleKind::dict || graph.size(handle) % 2 == 0,
              "every key has a value");
        for (const PickleHandle item : graph.items(handle)) visit(item);
        break;
      case PickleKind::global:
      case PickleKind::call:
        visit(graph.first(handle));
        visit(graph.second(handle));
        break;
      case PickleKind::persistent_id:
        visit(graph.first(handle));
        break;
      case PickleKind::none:
      case PickleKind::boolean:
      case PickleKind::integer:
      case PickleKind::real:
        break;
    }
  }
  for (const PickleHandle global : graph.globals())
    check(!q2l::detail::is_forbidden_global(graph.text(graph.first(global)),
                                            graph.text(graph.second(global))),
          "no forbidden code is named");
}

/// Takes every storage to lie at the start of the file.
void read_anywhere(const q2l::Pickle& pickle, std::span<const std::byte> file) {
  const q2l::detail::TorchStorageSource source = [&](const q2l::detail::TorchStorageId& id) {
    const std::uint64_t size = id.count * q2l::size_of(id.dtype);
    return q2l::detail::TorchStorage{q2l::ByteReader(file).take(size), 0};
  };
  q2l::fuzz::check_tensors(
      q2l::detail::read_state_dict(pickle, source, q2l::fuzz::tensor_limits, {}).tensors, file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace q2l::fuzz;
  const auto file = bytes_of(data, size);
  accepts(size, "", [&] {
    for (std::size_t at = 0; at < size;) {
      const q2l::Pickle pickle = q2l::parse_pickle(file.subspan(at), at);
      check(pickle.size <= size - at && file[at + pickle.size - 1] == std::byte{'.'},
            "a pickle ends with STOP");
      check_graph(pickle, file.subspan(at, pickle.size));
      accepts(size, "", [&] { read_anywhere(pickle, file); });
      at += pickle.size;
    }
  });
  accepts(size, "",
          [&] { check_tensors(q2l::read_torch_legacy(file, tensor_limits).tensors, file); });
  return 0;
}
