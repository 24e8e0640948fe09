// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <query2label/weights/pickle.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/allocation_watch.hpp"
#include "support/error_of.hpp"
#include "support/pickle_builder.hpp"

namespace {

using q2l::ErrorCode;
using q2l::PickleGraph;
using q2l::PickleHandle;
using q2l::PickleKind;
using q2l::test::bytes;
using q2l::test::error_of;
using q2l::test::little_endian;
using namespace q2l::test::pickled;
using namespace std::string_literals;

q2l::Error pickle_error(const std::string& pickle, const q2l::Limits& limits = {}) {
  return error_of([&] { (void)q2l::parse_pickle(bytes(pickle), 0, limits); });
}

ErrorCode code_of(const std::string& body) { return pickle_error(program(body)).code(); }

PickleKind kind_of(const std::string& body) {
  const std::string pickle = program(body);
  const q2l::Pickle parsed = q2l::parse_pickle(bytes(pickle));
  return parsed.graph.kind(parsed.root);
}

std::string times(std::string_view piece, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += piece;
  return out;
}

}  // namespace

TEST_CASE("Plain values are read as Python wrote them", "[weights][pickle]") {
  const std::string pickle = program(
      "("s + "N" + "\x88" + "K\xff" + "M\xff\xff" + "J\xff\xff\xff\xff" + "\x8a\x02\x00\x80"s +
      "\x8a\x00"s + "G\xbf\xf8\x00\x00\x00\x00\x00\x00"s + text("caf\xc3\xa9") + "C\x02\x00\xff"s +
      "\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09" + "t");
  const q2l::Pickle parsed = q2l::parse_pickle(bytes(pickle));
  const PickleGraph& graph = parsed.graph;
  CHECK(parsed.size == pickle.size());
  REQUIRE(graph.kind(parsed.root) == PickleKind::tuple);
  const std::vector<PickleHandle> items = graph.items(parsed.root);
  REQUIRE(items.size() == 11);
  CHECK(items[0] == PickleGraph::none);
  CHECK(items[1] == PickleGraph::yes);
  CHECK(graph.integer(items[2]) == 255);
  CHECK(graph.integer(items[3]) == 65535);
  CHECK(graph.integer(items[4]) == -1);
  CHECK(graph.integer(items[5]) == -32768);
  CHECK(graph.integer(items[6]) == 0);
  CHECK(graph.real(items[7]) == -1.5);
  CHECK(graph.text(items[8]) == "caf\xc3\xa9");
  CHECK(graph.text(items[9]) == "\x00\xff"s);
  CHECK(graph.kind(items[10]) == PickleKind::big_integer);
}

TEST_CASE("Protocols 2 to 5 are read and all others refused", "[weights][pickle][P1]") {
  for (int protocol = 0; protocol < 256; ++protocol) {
    CAPTURE(protocol);
    const std::string pickle = "\x80"s + static_cast<char>(protocol) + "N.";
    if (protocol >= 2 && protocol <= 5) {
      CHECK(q2l::parse_pickle(bytes(pickle)).size == 4);
    } else {
      CHECK(pickle_error(pickle).code() == ErrorCode::unsupported);
    }
  }
  CHECK(pickle_error("").code() == ErrorCode::truncated);
  CHECK(pickle_error("\x80").code() == ErrorCode::truncated);
  CHECK(pickle_error("\x80\x02").code() == ErrorCode::truncated);
  CHECK(pickle_error("\x80\x02N").code() == ErrorCode::truncated);
  CHECK(pickle_error("N.").code() == ErrorCode::unsupported);
  CHECK(q2l::parse_pickle(bytes("\x80\x02N.rest")).size == 4);
}

TEST_CASE("Every byte as an opcode is either known or refused", "[weights][pickle][P2]") {
  // What each known opcode needs on an empty stack decides its error; all others are bad_opcode.
  const std::set<int> known{'(', '.', '0', '1', '2', 'J', 'K', 'M', 'N', 'Q', 'R',
                            'T', 'U', 'X', 'a', 'b', 'c', '}', 'e', 'h', 'i', 'j',
                            ']', 'q', 'r', 's', 't', ')', 'u', 'G', 'B', 'C'};
  for (int opcode = 0; opcode < 256; ++opcode) {
    CAPTURE(opcode);
    const bool known_high = opcode >= 0x80 && opcode <= 0x96 && (opcode < 0x82 || opcode > 0x84);
    const q2l::Error error = pickle_error("\x80\x02"s + static_cast<char>(opcode));
    const bool refused = error.code() == ErrorCode::bad_opcode && error.place().offset == 2u;
    CHECK(refused == !(known.contains(opcode) || known_high));
  }
}

TEST_CASE("Opcodes that lack their operands underflow", "[weights][pickle][P3]") {
  for (const std::string body :
       {"0",     "2",     "\x87", "R",     "b",      "Q",    "\x81",  "\x92", "\x93", "NR",
        "N\x86", "a",     "s",    "e",     "u",      "t",    "1",     "(e",   "(u",   "(a",
        "N(0a",  "q\x01", "(Nb",  "(\x85", "N(\x85", "\x91", "(\x90", ""}) {
    CAPTURE(body);
    CHECK(code_of(body) == ErrorCode::stack_underflow);
  }
  for (const std::string body :
       {"N(Ne", "}Na", "](NNu", "}(Nu", "}(Ne", "]NNs", "N}b", "NNR", "NN", "(N",
        "N\x8f(N\x90"
        "N"}) {
    CAPTURE(body);
    CHECK(code_of(body) == ErrorCode::bad_opcode);
  }
  const q2l::Error error = pickle_error(program("NNR"));
  CHECK(error.place().offset == 4u);
}

TEST_CASE("Dangerous names are refused where they stand and nothing is called",
          "[weights][pickle][P4]") {
  const std::vector<std::pair<std::string, std::string>> names{
      {"os", "system"},
      {"posix", "system"},
      {"nt", "system"},
      {"subprocess", "Popen"},
      {"builtins", "eval"},
      {"builtins", "exec"},
      {"builtins", "getattr"},
      {"__builtin__", "compile"},
      {"builtins", "__import__"},
      {"runpy", "run_path"},
      {"pip", "main"},
      {"pip._internal", "main"},
      {"pkgutil", "resolve_name"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"sys", "exit"},
      {"socket", "socket"},
      {"importlib", "import_module"},
      {"logging", "os.system"},
      {"torch.serialization", "os.popen"},
      {"collections", "OrderedDict.__class__"},
      {"ctypes", "CDLL"},
      {"functools", "reduce"},
      {"types", "FunctionType"},
      {"numpy", "load"},
      {"operator", "attrgetter"},
      {"webbrowser", "open"},
      {"asyncio.subprocess", "Process"},
      {"torch.serialization", "load"},
      {"shutil", "rmtree"},
  };
  for (const auto& [module, name] : names) {
    CAPTURE(module, name);
    const std::string stack_global = text(module) + text(name) + "\x93";
    const std::string memo = text(module) +
                             "q\x01"
                             "0" +
                             text(name) +
                             "q\x02"
                             "0h\x01h\x02\x93";
    const std::vector<std::string> spellings{
        "N" + call(global(module, name), {text("true")}),  // REDUCE
        "N" + stack_global + "(" + text("true") + "tR",
        "N" + stack_global + ")}\x92",         // NEWOBJ_EX
        "N" + global(module, name) + ")\x81",  // NEWOBJ
        "N" + memo,
        "N" + global(module, name) + "0",         // and dropped again
        "N(i" + module + "\n" + name + "\n",      // INST
        "N(" + global(module, name) + "o",        // OBJ
        "N" + global(module, name) + "\xff\xff",  // the stream breaks afterwards
        "N" + global("argparse", "Namespace") + ")\x81}" + text("x") + stack_global + "sb",
    };
    for (const std::string& body : spellings) {
      const q2l::Error error = pickle_error(program(body));
      CHECK(error.code() == ErrorCode::forbidden_global);
      CHECK(error.place().subject == module + "." + name);
    }
  }
  CHECK(pickle_error(program("N" + global("os", "system"))).place().offset == 3u);
}

TEST_CASE("The extension registry and old-style objects are refused", "[weights][pickle][P5]") {
  for (const std::string body : {"\x82\x01", "\x83\x01\x02", "\x84\x01\x02\x03\x04", "(o",
                                 "(imy.module\nClass\n", "\x97", "\x98"}) {
    CAPTURE(body);
    CHECK(code_of(body) == ErrorCode::bad_opcode);
  }
}

TEST_CASE("Unknown harmless names become inert calls", "[weights][pickle][P7]") {
  for (const std::string& body :
       {global("argparse", "Namespace") + ")\x81}" + text("lr") + "K\x01sb",
        call(global("pathlib", "PosixPath"), {text("/tmp")}),
        call(global("numpy.core.multiarray", "scalar"),
             {call(global("numpy", "dtype"), {text("f8")}), text("12345678")}),
        call(global("my.config", "Config"), {}) + "(" + text("a") + "Nu" + "(Ne" + "Na" + "}b",
        global("my", "Class") + ")}\x92"}) {
    CHECK(kind_of(body) == PickleKind::call);
  }
  CHECK(kind_of(global("my", "Class")) == PickleKind::global);
}

TEST_CASE("Ordered dictionaries of either Python become dicts", "[weights][pickle]") {
  const std::string ordered = global("collections", "OrderedDict");
  for (const std::string& body :
       {ordered + ")R(" + text("k") + "K\x07u",
        call(ordered, {"](](" + text("k") +
                       "K\x07"
                       "ee"}),
        ordered + ")\x81(" + text("k") + "K\x07u",
        call(global("collections", "defaultdict"), {global("builtins", "list")}) + text("k") +
            "K\x07s"}) {
    const std::string pickle = program(body);
    const q2l::Pickle parsed = q2l::parse_pickle(bytes(pickle));
    REQUIRE(parsed.graph.kind(parsed.root) == PickleKind::dict);
    const std::vector<PickleHandle> items = parsed.graph.items(parsed.root);
    REQUIRE(items.size() == 2);
    CHECK(parsed.graph.text(items[0]) == "k");
    CHECK(parsed.graph.integer(items[1]) == 7);
  }
  CHECK(code_of(call(ordered, {"](](Ne"
                               "e"})) == ErrorCode::bad_opcode);
}

TEST_CASE("Lengths beyond the data are truncated before anything is allocated",
          "[weights][pickle][P8]") {
  for (const std::uint32_t length : {0x7FFFFFFFu, 0xFFFFFFFFu, 0x80000000u, 100u})
    for (const std::string opcode : {"X", "B", "T", "\x8b"})
      CHECK(code_of(opcode + little_endian(length)) == ErrorCode::truncated);
  for (const std::uint64_t length : {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{9}})
    for (const std::string opcode : {"\x8d", "\x8e", "\x96"})
      CHECK(code_of(opcode + little_endian(length)) == ErrorCode::truncated);
}

TEST_CASE("Frames must hold whole opcodes and end where they say", "[weights][pickle][P9]") {
  const auto framed = [](std::uint64_t length, const std::string& body) {
    return "\x80\x04\x95" + little_endian(length) + body;
  };
  CHECK(q2l::parse_pickle(bytes(framed(2, "N."))).size == 13);
  CHECK(q2l::parse_pickle(bytes(framed(2, "N0") + "N.")).size == 15);
  for (const std::string& pickle :
       {framed(3, "N."), framed(~std::uint64_t{0}, "N."), framed(1, "K\x01."), framed(3, "N.N"),
        framed(13, "\x95" + little_endian(std::uint64_t{2}) + "N.xx")})
    CHECK(pickle_error(pickle).code() == ErrorCode::bad_opcode);
}

TEST_CASE("Memo indices must be dense and known", "[weights][pickle][P10]") {
  CHECK(kind_of("]q\x00"
                "0h\x00"s) == PickleKind::list);
  CHECK(kind_of("]\x94"
                "0h\x00"s) == PickleKind::list);
  for (const std::string& body : {"Nr"s + little_endian(0xFFFFFFFFu), "Nr"s + little_endian(100u),
                                  "h\x00"s, "j"s + little_endian(0xFFFFFFFFu),
                                  "Nq\x02"
                                  "0h\x01"s})
    CHECK(code_of(body) == ErrorCode::bad_memo);
}

TEST_CASE("Doubling values by reference costs nothing", "[weights][pickle][P11]") {
  std::string body = "N";
  for (char i = 0; i < 100; ++i) body += "q"s + i + "h" + i + "\x86";
  CHECK(kind_of(body) == PickleKind::tuple);
  CHECK(kind_of("N" + times("2\x86", 100'000)) == PickleKind::tuple);
  // Many dictionaries of one long list would take time without end.
  const std::string list = "](" + times("](NNe", 1000) + "e\x85q\x00"s;
  const std::string bomb =
      list + global("collections", "OrderedDict") + "q\x01" + times("0h\x01h\x00R"s, 1000);
  CHECK(code_of(bomb) == ErrorCode::limit_exceeded);
}

TEST_CASE("Tuples of one value are a node of 16 bytes and no more", "[weights][pickle][B2]") {
  const std::string pickle = program("N" + times("\x85", 1'000'000));
  const q2l::test::AllocationWatch watch;
  const q2l::Pickle parsed = q2l::parse_pickle(bytes(pickle));
  CHECK(watch.total() < 18 * pickle.size());  // 16 and the deque's blocks
  CHECK(parsed.graph.kind(parsed.root) == PickleKind::tuple);
}

TEST_CASE("Containers keep their items in order, however many", "[weights][pickle]") {
  for (const std::size_t count : {0u, 1u, 2u, 3u, 7u}) {
    std::string body = "]";
    for (std::size_t i = 0; i < count; ++i) body += "K"s + static_cast<char>(i) + "a";
    const std::string pickle = program(body);
    const q2l::Pickle parsed = q2l::parse_pickle(bytes(pickle));
    const std::vector<PickleHandle> items = parsed.graph.items(parsed.root);
    REQUIRE(items.size() == count);
    for (std::size_t i = 0; i < count; ++i)
      CHECK(parsed.graph.integer(items[i]) == static_cast<std::int64_t>(i));
    if (count > 0) CHECK(parsed.graph.first_item(parsed.root) == items[0]);
  }
}

TEST_CASE("A container may contain itself", "[weights][pickle][P12]") {
  CHECK(kind_of("]q\x00h\x00"
                "a"s) == PickleKind::list);
  CHECK(kind_of("}q\x00"
                "Nh\x00s"s) == PickleKind::dict);
}

TEST_CASE("A million nested values need no stack", "[weights][pickle][P13]") {
  CHECK(kind_of(times("]", 1'000'000) + times("a", 999'999)) == PickleKind::list);
  CHECK(kind_of("N" + times("\x85", 1'000'000)) == PickleKind::tuple);
  CHECK(kind_of(times("(", 1'000'000) + times("t", 1'000'000)) == PickleKind::tuple);
}

TEST_CASE("Text opcodes and long names are refused", "[weights][pickle][P14]") {
  for (const std::string& body : {"I" + times("1", 100'000) + "\n", "Fnan\n"s, "S'no end\n"s,
                                  "V\\ud800\n"s, "L1L\n"s, "Pid\n"s, "g1\n"s, "Np1\n"s})
    CHECK(code_of(body) == ErrorCode::bad_opcode);
  const std::string long_name = times("m", 1'000'000);
  CHECK(code_of(global(long_name, "x")) == ErrorCode::limit_exceeded);
  CHECK(code_of(text(long_name) + text("x") + "\x93") == ErrorCode::limit_exceeded);
  CHECK(code_of("cmodule\nname") == ErrorCode::truncated);
  CHECK(code_of("K\x01K\x02\x93") == ErrorCode::bad_opcode);
  CHECK(code_of(times(global("a", "b") + "0", 2'001) + "N") == ErrorCode::limit_exceeded);
}

TEST_CASE("Size and number of opcodes are bounded", "[weights][pickle]") {
  CHECK(pickle_error(program("N0N"), {.pickle_bytes = 5}).code() == ErrorCode::limit_exceeded);
  CHECK(pickle_error(program("N0N"), {.pickle_opcodes = 3}).code() == ErrorCode::limit_exceeded);
}
