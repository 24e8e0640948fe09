// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/error.hpp"
#include "query2label/core/limits.hpp"
#include "query2label/weights/byte_reader.hpp"
#include "query2label/weights/forbidden_globals.hpp"
#include "query2label/weights/pickle_graph.hpp"

namespace q2l {

/// A parsed pickle.
struct Pickle {
  PickleGraph graph;
  PickleHandle root;
  std::size_t size;  ///< bytes from the first opcode to STOP, both included
};

namespace detail {

/// Python's name for each opcode that is accepted. Left out, and so refused: the text opcodes of
/// protocol 0, the extension registry, OBJ and out-of-band buffers, none of which torch.save
/// writes.
enum class PickleOpcode : std::uint8_t {
  mark = '(', stop = '.', pop = '0', pop_mark = '1', dup = '2',
  binint = 'J', binint1 = 'K', binint2 = 'M', none = 'N', binpersid = 'Q', reduce = 'R',
  binstring = 'T', short_binstring = 'U', binunicode = 'X', append = 'a', build = 'b', global = 'c',
  empty_dict = '}', appends = 'e', binget = 'h', inst = 'i', long_binget = 'j', empty_list = ']',
  binput = 'q', long_binput = 'r', setitem = 's', tuple = 't', empty_tuple = ')', setitems = 'u',
  binfloat = 'G', binbytes = 'B', short_binbytes = 'C',
  proto = 0x80, newobj = 0x81, tuple1 = 0x85, tuple2 = 0x86, tuple3 = 0x87, newtrue = 0x88,
  newfalse = 0x89, long1 = 0x8a, long4 = 0x8b, short_binunicode = 0x8c, binunicode8 = 0x8d,
  binbytes8 = 0x8e, empty_set = 0x8f, additems = 0x90, frozenset = 0x91, newobj_ex = 0x92,
  stack_global = 0x93, memoize = 0x94, frame = 0x95, bytearray8 = 0x96,
};

/// Runs a pickle's opcodes on a stack of handles. Calls are recorded, never made, except that
/// ordered and default dictionaries become dicts.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, std::uint64_t file_offset, const Limits& limits)
      : reader_(bytes, file_offset), limits_(limits), graph_(bytes, file_offset) {
    if (bytes.size() > std::min<std::uint64_t>(limits.pickle_bytes, PickleGraph::largest))
      throw Error(ErrorCode::limit_exceeded, "the pickle is too large",
                  {.offset = file_offset,
                   .expected = "at most " + std::to_string(limits.pickle_bytes) + " bytes",
                   .actual = std::to_string(bytes.size())});
  }

  Pickle run() {
    read_protocol();
    for (;;) {
      opcode_position_ = reader_.position();
      opcode_offset_ = reader_.offset();
      if (++opcodes_ > limits_.pickle_opcodes)
        fail(ErrorCode::limit_exceeded,
             "more than " + std::to_string(limits_.pickle_opcodes) + " opcodes");
      if (frame_end_ == opcode_position_) frame_end_.reset();
      const auto opcode = PickleOpcode{reader_.read<std::uint8_t>()};
      if (opcode == PickleOpcode::stop) break;
      execute(opcode);
      if (frame_end_ && reader_.position() > *frame_end_)
        fail(ErrorCode::bad_opcode, "the opcode crosses the end of its frame");
    }
    if (frame_end_ && reader_.position() != *frame_end_)
      fail(ErrorCode::bad_opcode, "the pickle stops before its frame ends");
    const PickleHandle root = pop();
    if (!stack_.empty() || !marks_.empty())
      fail(ErrorCode::bad_opcode, "values are left over where the pickle stops");
    return {std::move(graph_), root, reader_.position()};
  }

 private:
  using Op = PickleOpcode;

  void read_protocol() {
    opcode_offset_ = reader_.offset();
    const auto opcode = Op{reader_.read<std::uint8_t>()};
    if (opcode != Op::proto)
      fail(ErrorCode::unsupported, "a pickle of protocol 0 or 1, or no pickle");
    require_protocol();
  }

  void require_protocol() {
    const auto protocol = reader_.read<std::uint8_t>();
    if (protocol < 2 || protocol > 5)
      throw Error(
          ErrorCode::unsupported, "a pickle protocol that is not supported",
          {.offset = opcode_offset_, .expected = "2 to 5", .actual = std::to_string(protocol)});
  }

  void execute(Op opcode) {
    switch (opcode) {
      case Op::proto: return require_protocol();
      case Op::frame: return begin_frame();

      case Op::none: return push(PickleGraph::none);
      case Op::newfalse: return push(PickleGraph::no);
      case Op::newtrue: return push(PickleGraph::yes);
      case Op::binint: return push(graph_.add_integer(reader_.read<std::int32_t>()));
      case Op::binint1: return push(graph_.add_integer(reader_.read<std::uint8_t>()));
      case Op::binint2: return push(graph_.add_integer(reader_.read<std::uint16_t>()));
      case Op::long1: return push_long(reader_.read<std::uint8_t>());
      case Op::long4: return push_long(signed_length());
      case Op::binfloat: return push_real();

      case Op::short_binstring:
      case Op::short_binunicode: return push_bytes(PickleKind::text, reader_.read<std::uint8_t>());
      case Op::binstring: return push_bytes(PickleKind::text, signed_length());
      case Op::binunicode: return push_bytes(PickleKind::text, reader_.read<std::uint32_t>());
      case Op::binunicode8: return push_bytes(PickleKind::text, reader_.read<std::uint64_t>());
      case Op::short_binbytes: return push_bytes(PickleKind::bytes, reader_.read<std::uint8_t>());
      case Op::binbytes: return push_bytes(PickleKind::bytes, reader_.read<std::uint32_t>());
      case Op::binbytes8:
      case Op::bytearray8: return push_bytes(PickleKind::bytes, reader_.read<std::uint64_t>());

      case Op::empty_tuple: return push(PickleGraph::empty_tuple);
      case Op::empty_list: return push(graph_.add_container(PickleKind::list));
      case Op::empty_dict: return push(graph_.add_container(PickleKind::dict));
      case Op::empty_set: return push(graph_.add_container(PickleKind::set));
      case Op::tuple1: return push_collected(PickleKind::tuple, top(1));
      case Op::tuple2: return push_collected(PickleKind::tuple, top(2));
      case Op::tuple3: return push_collected(PickleKind::tuple, top(3));
      case Op::tuple: return push_collected(PickleKind::tuple, pop_mark());
      case Op::frozenset: return push_collected(PickleKind::set, pop_mark());
      case Op::append: return extend(PickleKind::list, top(1));
      case Op::appends: return extend(PickleKind::list, pop_mark());
      case Op::additems: return extend(PickleKind::set, pop_mark());
      case Op::setitem: return extend(PickleKind::dict, top(2));
      case Op::setitems: return extend(PickleKind::dict, pop_mark());

      case Op::mark: return marks_.push_back(stack_.size());
      case Op::pop: return discard_top();
      case Op::pop_mark: return stack_.resize(pop_mark());
      case Op::dup: return push(stack_[top(1)]);

      case Op::memoize: return store(memorized_);
      case Op::binput: return store(reader_.read<std::uint8_t>());
      case Op::long_binput: return store(reader_.read<std::uint32_t>());
      case Op::binget: return push(recall(reader_.read<std::uint8_t>()));
      case Op::long_binget: return push(recall(reader_.read<std::uint32_t>()));

      case Op::global: return push_global_lines();
      case Op::stack_global: return push_stack_global();
      case Op::inst: return refuse_inst();
      case Op::newobj:
      case Op::reduce: return record_call(0);
      case Op::newobj_ex: return record_call(1);
      case Op::build: return apply_state();
      case Op::binpersid: return push(graph_.add_persistent_id(pop(), opcode_position_));

      case Op::stop: break;  // ends the loop in run()
    }
    fail(ErrorCode::bad_opcode,
         "opcode " + std::to_string(static_cast<int>(opcode)) + " is not allowed");
  }

  [[noreturn]] void fail(ErrorCode code, std::string_view detail) const {
    throw Error(code, detail, {.offset = opcode_offset_});
  }

  void push(PickleHandle handle) { stack_.push_back(handle); }

  /// The index of the topmost `count` values, which must lie above the last mark.
  [[nodiscard]] std::size_t top(std::size_t count) const {
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() - floor < count)
      fail(ErrorCode::stack_underflow, "the opcode needs more values than the stack holds");
    return stack_.size() - count;
  }

  PickleHandle pop() {
    const PickleHandle handle = stack_[top(1)];
    stack_.pop_back();
    return handle;
  }

  /// Removes the last mark; returns the index of the first value above it.
  std::size_t pop_mark() {
    if (marks_.empty()) fail(ErrorCode::stack_underflow, "the opcode needs a mark");
    const std::size_t begin = marks_.back();
    marks_.pop_back();
    return begin;
  }

  /// POP removes a mark where one lies on top.
  void discard_top() {
    if (!marks_.empty() && marks_.back() == stack_.size()) {
      marks_.pop_back();
    } else {
      pop();
    }
  }

  void begin_frame() {
    const auto length = reader_.read<std::uint64_t>();
    if (frame_end_) fail(ErrorCode::bad_opcode, "a frame inside a frame");
    if (length > reader_.remaining()) fail(ErrorCode::bad_opcode, "the frame reaches past the end");
    frame_end_ = reader_.position() + static_cast<std::size_t>(length);
  }

  /// A length that Python reads as signed.
  std::uint64_t signed_length() {
    const auto length = reader_.read<std::int32_t>();
    if (length < 0) fail(ErrorCode::truncated, "a negative length");
    return static_cast<std::uint64_t>(length);
  }

  void push_bytes(PickleKind kind, std::uint64_t length) {
    push(graph_.add_bytes(kind, reader_.take(length)));
  }

  /// A little-endian two's complement number of any length.
  void push_long(std::uint64_t length) {
    const auto bytes = reader_.take(length);
    if (bytes.size() > sizeof(std::int64_t))
      return push(graph_.add_bytes(PickleKind::big_integer, bytes));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      value |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    const bool negative = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0};
    if (negative && bytes.size() < sizeof value) value |= ~std::uint64_t{0} << (8 * bytes.size());
    push(graph_.add_integer(static_cast<std::int64_t>(value)));
  }

  /// The one big-endian value of the format.
  void push_real() {
    std::uint64_t bits = 0;
    for (const std::byte byte : reader_.take(sizeof bits))
      bits = bits << 8 | static_cast<std::uint64_t>(byte);
    push(graph_.add_real(std::bit_cast<double>(bits)));
  }

  /// Replaces the values from `begin` by one container of them.
  void push_collected(PickleKind kind, std::size_t begin) {
    const PickleHandle container = graph_.add_container(kind);
    for (std::size_t i = begin; i < stack_.size(); ++i) graph_.append(container, stack_[i]);
    stack_.resize(begin);
    push(container);
  }

  /// Moves the values from `begin` into the container below them. Into an object that was never
  /// made, they vanish.
  void extend(PickleKind kind, std::size_t begin) {
    if (kind == PickleKind::dict && (stack_.size() - begin) % 2 != 0)
      fail(ErrorCode::bad_opcode, "a key without a value");
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (begin <= floor) fail(ErrorCode::stack_underflow, "the opcode has no container to add to");
    const PickleHandle container = stack_[begin - 1];
    if (graph_.kind(container) == kind) {
      for (std::size_t i = begin; i < stack_.size(); ++i) graph_.append(container, stack_[i]);
    } else if (graph_.kind(container) != PickleKind::call) {
      fail(ErrorCode::bad_opcode, "the opcode adds to a value of another kind");
    }
    stack_.resize(begin);
  }

  /// Pickles number their memo densely, so an index beyond the opcodes so far is a lie about
  /// memory.
  void store(std::uint64_t index) {
    if (index > opcodes_) fail(ErrorCode::bad_memo, "the memo index is out of all proportion");
    if (index >= memo_.size()) memo_.resize(static_cast<std::size_t>(index) + 1, missing);
    PickleHandle& slot = memo_[static_cast<std::size_t>(index)];
    if (slot == missing) ++memorized_;
    slot = stack_[top(1)];
  }

  [[nodiscard]] PickleHandle recall(std::uint64_t index) const {
    if (index >= memo_.size() || memo_[static_cast<std::size_t>(index)] == missing)
      fail(ErrorCode::bad_memo, "the memo has no value of this index");
    return memo_[static_cast<std::size_t>(index)];
  }

  void require_allowed(std::string_view module, std::string_view name) const {
    if (std::max(module.size(), name.size()) > limits_.pickle_global_bytes)
      fail(ErrorCode::limit_exceeded, "the name of a module or class is too long");
    if (graph_.globals().size() >= limits_.pickle_globals)
      fail(ErrorCode::limit_exceeded, "too many mentions of classes and functions");
    if (is_forbidden_global(module, name))
      throw Error(
          ErrorCode::forbidden_global,
          "the file refers to code that weights never need; it may be an attack. Nothing was run",
          {.offset = opcode_offset_, .subject = std::string(module) + "." + std::string(name)});
  }

  void push_global_lines() {
    const std::string_view module = reader_.read_line(limits_.pickle_global_bytes);
    const std::string_view name = reader_.read_line(limits_.pickle_global_bytes);
    require_allowed(module, name);
    const PickleHandle first = graph_.add_bytes(PickleKind::text, std::as_bytes(std::span(module)));
    const PickleHandle second = graph_.add_bytes(PickleKind::text, std::as_bytes(std::span(name)));
    push(graph_.add_global(first, second, opcode_position_));
  }

  void push_stack_global() {
    const PickleHandle name = pop();
    const PickleHandle module = pop();
    if (graph_.kind(name) != PickleKind::text || graph_.kind(module) != PickleKind::text)
      fail(ErrorCode::bad_opcode, "a module or its member is not named by text");
    require_allowed(graph_.text(module), graph_.text(name));
    push(graph_.add_global(module, name, opcode_position_));
  }

  /// INST is refused, but an attack is still called one.
  [[noreturn]] void refuse_inst() {
    const std::string_view module = reader_.read_line(limits_.pickle_global_bytes);
    require_allowed(module, reader_.read_line(limits_.pickle_global_bytes));
    fail(ErrorCode::bad_opcode, "opcode INST is not allowed");
  }

  /// callee, arguments and `extra` further values become one recorded call.
  void record_call(std::size_t extra) {
    for (std::size_t i = 0; i < extra; ++i) pop();
    const PickleHandle arguments = pop();
    const PickleHandle callee = pop();
    if (graph_.kind(arguments) != PickleKind::tuple)
      fail(ErrorCode::bad_opcode, "the arguments of a call are not a tuple");
    if (is_dictionary(callee)) return push_dictionary(arguments);
    push(graph_.add_call(callee, arguments, opcode_position_));
  }

  [[nodiscard]] bool is_dictionary(PickleHandle callee) const {
    return graph_.is_global(callee, "collections", "OrderedDict") ||
           graph_.is_global(callee, "collections", "defaultdict") ||
           graph_.is_global(callee, "builtins", "dict") ||
           graph_.is_global(callee, "__builtin__", "dict");
  }

  /// A dict from nothing, or, as Python 2 wrote them, from a list of [key, value] lists. The
  /// factory of a defaultdict holds no items.
  void push_dictionary(PickleHandle arguments) {
    const PickleHandle dict = graph_.add_container(PickleKind::dict);
    push(dict);
    if (graph_.size(arguments) == 0) return;
    const PickleHandle list = graph_.first_item(arguments);
    if (graph_.kind(list) != PickleKind::list) return;
    copied_ += graph_.size(list);  // without a bound, many dicts of one list take time without end
    if (copied_ > reader_.position())
      fail(ErrorCode::limit_exceeded, "dictionaries repeat a list too often");
    for (const PickleHandle pair : graph_.items(list)) {
      if (!graph_.is_container(pair) || graph_.size(pair) != 2)
        fail(ErrorCode::bad_opcode, "an item of a dictionary is not a pair");
      for (const PickleHandle item : graph_.items(pair)) graph_.append(dict, item);
    }
  }

  /// BUILD gives an object its attributes; none of them is a tensor of a state dict.
  void apply_state() {
    pop();
    const PickleKind target = graph_.kind(stack_[top(1)]);
    if (target != PickleKind::call && target != PickleKind::dict)
      fail(ErrorCode::bad_opcode, "only objects have attributes");
  }

  static constexpr PickleHandle missing = ~PickleHandle{0};

  ByteReader reader_;
  Limits limits_;
  PickleGraph graph_;
  std::vector<PickleHandle> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::vector<PickleHandle> memo_;
  std::uint64_t memorized_ = 0;  ///< entries of the memo in use
  std::uint64_t copied_ = 0;     ///< items of lists made into dictionaries
  std::uint64_t opcodes_ = 0;
  std::size_t opcode_position_ = 0;
  std::uint64_t opcode_offset_ = 0;
  std::optional<std::size_t> frame_end_;
};

}  // namespace detail

/// Parses one pickle (protocols 2 to 5) at the start of `bytes`, which lie at `file_offset` of
/// their file; what follows it is left alone. Nothing is ever imported or called: see PickleKind.
/// Time and memory are in proportion to `bytes`. Throws truncated, unsupported, bad_opcode,
/// stack_underflow, bad_memo, forbidden_global (naming module and member), limit_exceeded.
inline Pickle parse_pickle(std::span<const std::byte> bytes, std::uint64_t file_offset = 0,
                           const Limits& limits = {}) {
  return detail::PickleMachine(bytes, file_offset, limits).run();
}

}  // namespace q2l
