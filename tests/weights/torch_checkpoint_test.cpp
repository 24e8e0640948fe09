// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <query2label/weights/torch_checkpoint.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/weights/mapped_file.hpp"
#include "support/error_of.hpp"
#include "support/pickle_builder.hpp"
#include "support/weight_fixtures.hpp"
#include "support/zip_builder.hpp"

namespace {

using q2l::ErrorCode;
using q2l::TensorEntry;
using q2l::TorchCheckpoint;
using q2l::test::build_zip;
using q2l::test::bytes;
using q2l::test::error_of;
using q2l::test::little_endian;
using q2l::test::weight_fixture;
using q2l::test::ZipFields;
using q2l::test::ZipMember;
using namespace q2l::test::pickled;
using namespace std::string_literals;
using Shape = std::vector<std::uint64_t>;

TorchCheckpoint read(const std::string& file, const q2l::TorchOptions& options = {}) {
  return file.starts_with("PK") ? q2l::read_torch_zip(bytes(file), {}, options)
                                : q2l::read_torch_legacy(bytes(file), {}, options);
}

q2l::Error error_reading(const std::string& file, const q2l::TorchOptions& options = {}) {
  return error_of([&] { (void)read(file, options); });
}

const TensorEntry& find(const TorchCheckpoint& checkpoint, std::string_view name) {
  const auto at = std::find_if(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                               [&](const TensorEntry& tensor) { return tensor.name == name; });
  if (at == checkpoint.tensors.end()) throw std::logic_error("no tensor " + std::string(name));
  return *at;
}

/// The numerators that the script behind the fixtures uses; a float tensor holds eighths of them.
std::vector<double> numbers(std::size_t count, double divisor = 8) {
  std::vector<double> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back((static_cast<double>((37 * i + 11) % 64) - 32) / divisor);
  return out;
}

/// A ZIP checkpoint of this pickle and storages "0", "1", ...
std::vector<ZipMember> members(const std::string& body, const std::vector<std::string>& storages) {
  std::vector<ZipMember> out{{"root/data.pkl", program(body), {}, ""}};
  for (std::size_t i = 0; i < storages.size(); ++i)
    out.push_back({"root/data/" + std::to_string(i), storages[i], {}, ""});
  out.push_back({"root/version", "3\n", {}, ""});
  return out;
}

const std::string four_floats = little_endian(0x3F800000u) + little_endian(0x40000000u) +
                                little_endian(0x40400000u) + little_endian(0x40800000u);

/// A checkpoint of the one tensor "w".
std::string one_tensor(const std::string& tensor) {
  return build_zip(members(dict({{"w", tensor}}), {four_floats}));
}

std::string legacy(const std::string& body, const std::vector<std::string>& keys,
                   const std::string& storages, const std::string& version = integer(1001),
                   const std::string& system = dict({{"little_endian", "\x88"}})) {
  std::string list = "](";
  for (const std::string& key : keys) list += text(key);
  return program("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + program(version) +
         program(system) + program(body) + program(list + "e") + storages;
}

const std::string plain = tensor(storage("0", 4), 0, {2, 2}, {2, 1});

}  // namespace

TEST_CASE("Every element type of PyTorch is read exactly", "[weights][torch][P20]") {
  for (const std::string name : {"dtypes.pth", "dtypes_legacy.pth"}) {
    const std::string file = weight_fixture(name);
    const TorchCheckpoint checkpoint = read(file);
    REQUIRE(checkpoint.tensors.size() == 10);
    for (const std::string dtype : {"half", "bfloat16", "float", "double"})
      CHECK(find(checkpoint, dtype).read<double>() == numbers(10));
    for (const std::string dtype : {"long", "int", "short", "char"})
      CHECK(find(checkpoint, dtype).read<double>() == numbers(10, 1));
    std::vector<double> shifted = numbers(10, 1);
    std::vector<double> positive = shifted;
    for (double& value : shifted) value += 32;
    for (double& value : positive) value = value > 0 ? 1 : 0;
    CHECK(find(checkpoint, "byte").read<double>() == shifted);
    CHECK(find(checkpoint, "bool").read<double>() == positive);
    CHECK(find(checkpoint, "float").shape == Shape{2, 5});
  }
  CHECK(error_reading(weight_fixture("complex.pth")).code() == ErrorCode::bad_dtype);
}

TEST_CASE("Transposed, sliced, repeated and shared tensors equal PyTorch's",
          "[weights][torch][P18]") {
  for (const std::string name : {"layouts.pth", "layouts_legacy.pth"}) {
    CAPTURE(name);
    const std::string file = weight_fixture(name);
    const TorchCheckpoint checkpoint = read(file);
    const std::vector<double> base = numbers(24);
    const auto values = [&](std::string_view tensor, const Shape& shape) {
      CHECK(find(checkpoint, tensor).shape == shape);
      return find(checkpoint, tensor).read<double>();
    };
    CHECK(values("base", {6, 4}) == base);
    std::vector<double> transposed, sliced, expanded, permuted;
    for (std::size_t column = 0; column < 4; ++column)
      for (std::size_t row = 0; row < 6; ++row) transposed.push_back(base[row * 4 + column]);
    for (const std::size_t row : {1u, 3u, 5u})
      for (const std::size_t column : {1u, 2u}) sliced.push_back(base[row * 4 + column]);
    for (int repeat = 0; repeat < 3; ++repeat)
      for (std::size_t column = 0; column < 4; ++column) expanded.push_back(base[8 + column]);
    for (std::size_t k = 0; k < 4; ++k)
      for (std::size_t i = 0; i < 2; ++i)
        for (std::size_t j = 0; j < 3; ++j) permuted.push_back(base[(i * 3 + j) * 4 + k]);
    CHECK(values("transposed", {4, 6}) == transposed);
    CHECK(values("sliced", {3, 2}) == sliced);
    CHECK(values("shared", {19}) == std::vector<double>(base.begin() + 5, base.end()));
    CHECK(values("expanded", {3, 4}) == expanded);
    CHECK(values("permuted", {4, 2, 3}) == permuted);
    CHECK(values("scalar", {}) == std::vector<double>{2.5});
    CHECK(values("empty", {0, 3}).empty());
    CHECK(values("parameter", {3}) == numbers(3));
    CHECK(find(checkpoint, "base").storage.data() == find(checkpoint, "shared").storage.data());
  }
}

TEST_CASE("A training checkpoint gives its state dict and nothing else", "[weights][torch][P7]") {
  for (const std::string name : {"training.pth", "training_legacy.pth"}) {
    const std::string file = weight_fixture(name);
    const TorchCheckpoint checkpoint = read(file);
    CHECK(checkpoint.state_dict == "state_dict");
    CHECK(checkpoint.others.empty());
    CHECK(checkpoint.tensors.size() == 7);
    CHECK(find(checkpoint, "module.0.weight").read<double>() == numbers(6));
    CHECK(find(checkpoint, "module.1.num_batches_tracked").read<float>() == std::vector<float>{1});
    CHECK(checkpoint.foreign_globals.contains("argparse.Namespace"));
    CHECK(checkpoint.foreign_globals.contains("numpy.core.multiarray.scalar"));
    CHECK_FALSE(checkpoint.foreign_globals.contains("torch.FloatStorage"));
  }
}

TEST_CASE("The optimizer's storages are never looked at", "[weights][torch]") {
  std::string file = weight_fixture("training.pth");
  const q2l::ZipArchive archive(bytes(file));
  std::vector<std::pair<const q2l::ZipEntry*, bool>> records;
  {
    const TorchCheckpoint checkpoint = read(file);
    for (const q2l::ZipEntry& entry : archive.entries()) {
      if (entry.name.find("/data/") == std::string_view::npos) continue;
      const bool used = std::any_of(
          checkpoint.tensors.begin(), checkpoint.tensors.end(),
          [&](const TensorEntry& tensor) { return tensor.storage.data() == entry.data.data(); });
      records.emplace_back(&entry, used);
    }
  }
  CHECK(std::count_if(records.begin(), records.end(), [](auto& r) { return !r.second; }) > 0);
  for (const auto& [entry, used] : records) {
    char& byte = file[entry->file_offset];
    byte = static_cast<char>(byte ^ 1);
    if (used) {
      CHECK(error_reading(file).code() == ErrorCode::checksum_mismatch);
      CHECK(read(file, {.state_dict = "", .verify = false}).tensors.size() == 7);
    } else {
      CHECK(read(file).tensors.size() == 7);
    }
    byte = static_cast<char>(byte ^ 1);
  }
}

TEST_CASE("Newer pickle protocols are read", "[weights][torch][P1]") {
  for (const std::string name : {"protocol4.pth", "protocol5_legacy.pth"}) {
    const std::string file = weight_fixture(name);
    CHECK(find(read(file), "a.weight").read<double>() == numbers(6));
  }
}

TEST_CASE("Of two state dicts the preferred one is read and the other named",
          "[weights][torch][P21]") {
  const std::string file = weight_fixture("with_average.pth");
  const TorchCheckpoint checkpoint = read(file);
  CHECK(checkpoint.state_dict == "model");
  CHECK(checkpoint.others == std::vector<std::string>{"model_ema"});
  CHECK(find(checkpoint, "module.a.bias").read<double>() == numbers(2));
  const TorchCheckpoint chosen = read(file, {.state_dict = "model_ema"});
  CHECK(find(chosen, "a.bias").read<double>() == numbers(2, 16));

  const std::string ambiguous = weight_fixture("ambiguous.pth");
  const q2l::Error error = error_reading(ambiguous);
  CHECK(error.code() == ErrorCode::ambiguous);
  CHECK(error.place().actual == "model, net");
  CHECK(error.detail().find("name the one to use") != std::string::npos);
  CHECK(read(ambiguous, {.state_dict = "net"}).tensors.size() == 1);
  CHECK(error_reading(ambiguous, {.state_dict = "ema"}).code() == ErrorCode::missing_entry);
}

TEST_CASE("State dicts are found under every usual key, also one inside another",
          "[weights][torch][P21]") {
  for (const std::string key : {"state_dict", "model", "model_state_dict", "state_dict_ema",
                                "model_ema", "ema_state_dict", "net", "ema"}) {
    const std::string body = dict({{"epoch", "K\x01"}, {key, dict({{"w", plain}})}});
    CHECK(read(build_zip(members(body, {four_floats}))).state_dict == key);
  }
  const std::string nested = dict({{"ema", dict({{"module", dict({{"w", plain}})}})}});
  CHECK(read(build_zip(members(nested, {four_floats}))).state_dict == "ema.module");
  for (const std::string& body : {"N"s, "]"s, dict({}), dict({{"epoch", "K\x01"}}),
                                  dict({{"weights", dict({{"w", plain}})}})})
    CHECK(error_reading(build_zip(members(body, {four_floats}))).code() ==
          ErrorCode::missing_entry);
  CHECK(error_reading(weight_fixture("whole_module.pth")).code() == ErrorCode::missing_entry);
}

TEST_CASE("The counter of averaged weights is not one of them", "[weights][torch][P21]") {
  const std::string averaged = dict({{"n_averaged", plain}, {"module.w", plain}});
  const std::string body = dict({{"model", dict({{"w", plain}})}, {"model_ema", averaged}});
  const std::string file = build_zip(members(body, {four_floats}));
  CHECK(read(file).others == std::vector<std::string>{"model_ema"});
  const TorchCheckpoint chosen = read(file, {.state_dict = "model_ema"});
  REQUIRE(chosen.tensors.size() == 1);
  CHECK(chosen.tensors[0].name == "module.w");
}

TEST_CASE("A dictionary inside itself is a cycle", "[weights][torch][P12]") {
  for (const std::string& body : {"}q\x00"s + text("model") + "h\x00s"s,
                                  "}q\x00"s + text("w") + plain + "s" + text("x") + "h\x00s"s})
    CHECK(error_reading(build_zip(members(body, {four_floats}))).code() == ErrorCode::cycle);
}

TEST_CASE("Tensors of other kinds are named in the error", "[weights][torch][P19]") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"sparse.pth", "sparse"}, {"quantized.pth", "q"}, {"numpy.pth", "array"}};
  for (const auto& [name, tensor] : cases) {
    const q2l::Error error = error_reading(weight_fixture(name));
    CHECK(error.code() == ErrorCode::unsupported_tensor);
    CHECK(error.place().subject == tensor);
  }
  const std::string rebuild_v3 = call(global("torch._utils", "_rebuild_tensor_v3"), {"N"});
  const std::string wrapped = call(global("torch._utils", "_rebuild_parameter"), {"N", "N", "N"});
  const std::string twice =
      call(global("torch._utils", "_rebuild_parameter"),
           {call(global("torch._utils", "_rebuild_parameter"), {plain, "\x88", "}"}), "\x88", "}"});
  const std::string short_call = call(global("torch._utils", "_rebuild_tensor_v2"), {"N"});
  const auto with_flags = [](const std::string& flags) {
    return call(global("torch._utils", "_rebuild_tensor_v2"),
                {storage("0", 4), integer(0), integers({4}), integers({1}), "\x89", "}", flags});
  };
  const std::string negated = with_flags(dict({{"neg", "\x88"}}));
  for (const std::string& value : {rebuild_v3, wrapped, twice, short_call, negated})
    CHECK(error_reading(one_tensor(value)).code() == ErrorCode::unsupported_tensor);
  const std::string first = call(global("torch._utils", "_rebuild_tensor"),
                                 {storage("0", 4), "K\x00"s, integers({4}), integers({1})});
  const std::string with_state =
      call(global("torch._utils", "_rebuild_parameter_with_state"), {plain, "\x88", "}", "}"});
  for (const std::string& value : {first, with_state, with_flags("}")})
    CHECK(read(one_tensor(value)).tensors.size() == 1);
}

TEST_CASE("What is no tensor among the weights is passed over", "[weights][torch][P7]") {
  const std::string arguments = call(global("argparse", "Namespace"), {});
  const std::string score = call(global("numpy.core.multiarray", "scalar"),
                                 {call(global("numpy", "dtype"), {text("f8")}), text("12345678")});
  const std::string body =
      dict({{"w", plain}, {"epoch", "K\x03"}, {"args", arguments}, {"best_mAP", score}});
  const std::string file = build_zip(members(body, {four_floats}));
  const TorchCheckpoint checkpoint = read(file);
  REQUIRE(checkpoint.tensors.size() == 1);
  CHECK(checkpoint.tensors[0].name == "w");
  CHECK(checkpoint.foreign_globals.contains("argparse.Namespace"));
}

TEST_CASE("Tensors cannot repeat what is stored without bound", "[weights][torch][P18]") {
  const auto repeating = [](std::size_t count) {
    std::vector<std::pair<std::string, std::string>> tensors;
    for (std::size_t i = 0; i < count; ++i)
      tensors.emplace_back("w" + std::to_string(i),
                           tensor(storage("0", 4), 0, {1 << 12, 1 << 10}, {0, 0}));
    return build_zip(members(dict(tensors), {four_floats}));
  };
  CHECK(read(repeating(4)).tensors.size() == 4);  // 2^24 elements in all
  const q2l::Error error = error_reading(repeating(5));
  CHECK(error.code() == ErrorCode::limit_exceeded);
  CHECK(error.place().subject == "w4");
}

TEST_CASE("Storages that are impossible or absent are refused", "[weights][torch][P15]") {
  const auto with_storage = [](const std::string& reference) {
    return error_reading(one_tensor(tensor(reference, 0, {1}, {1}))).code();
  };
  const std::string float_class = global("torch", "FloatStorage");
  CHECK(with_storage("N") == ErrorCode::bad_storage);
  CHECK(with_storage("K\x01Q") == ErrorCode::bad_storage);
  CHECK(with_storage(tuple({text("module"), float_class, text("0"), text("cpu"), "K\x04"}) + "Q") ==
        ErrorCode::bad_storage);
  CHECK(with_storage(tuple({text("storage"), float_class, text("0"), text("cpu")}) + "Q") ==
        ErrorCode::bad_storage);
  CHECK(with_storage(
            tuple({text("storage"), float_class, text("0"), text("cpu"), "K\x04", "N", "N"}) +
            "Q") == ErrorCode::bad_storage);
  CHECK(with_storage(tuple({text("storage"), text("float"), text("0"), text("cpu"), "K\x04"}) +
                     "Q") == ErrorCode::bad_storage);
  CHECK(with_storage(storage("0", 4, "ComplexFloatStorage")) == ErrorCode::bad_dtype);
  CHECK(with_storage(storage("0", 4, "NoStorage")) == ErrorCode::bad_dtype);
  CHECK(with_storage(storage(std::string(200, '0'), 4)) == ErrorCode::bad_storage);
  for (const std::string key : {"../x", "1", "", "data.pkl", "../data.pkl"}) {
    const q2l::Error error = error_reading(one_tensor(tensor(storage(key, 4), 0, {1}, {1})));
    CHECK(error.code() == ErrorCode::bad_storage);
    CHECK(error.place().subject == key);
  }
}

TEST_CASE("A storage must have the size that the pickle says", "[weights][torch][P16]") {
  for (const std::int64_t count : {std::int64_t{-1}, std::int64_t{0x4000000000000001},
                                   std::int64_t{0}, std::int64_t{3}, std::int64_t{5}})
    CHECK(error_reading(one_tensor(tensor(storage("0", count), 0, {1}, {1}))).code() ==
          ErrorCode::size_mismatch);
  CHECK(error_reading(one_tensor(tensor(storage("0", 4, "DoubleStorage"), 0, {1}, {1}))).code() ==
        ErrorCode::size_mismatch);
}

TEST_CASE("Shapes that leave their storage are refused", "[weights][torch][P17]") {
  const std::int64_t huge = std::int64_t{1} << 40;
  const std::vector<std::string> bad{
      tensor(storage("0", 4), 0, {-1}, {1}),
      tensor(storage("0", 4), 0, {1}, {-1}),
      tensor(storage("0", 4), -1, {1}, {1}),
      tensor(storage("0", 4), 4, {1}, {1}),
      tensor(storage("0", 4), 0, {5}, {1}),
      tensor(storage("0", 4), 0, {2, 2}, {3, 1}),
      tensor(storage("0", 4), 0, {2, 2}, {1}),
      tensor(storage("0", 4), 0, {huge}, {0}),
      tensor(storage("0", 4), 0, {huge, huge}, {0, 0}),
      tensor(storage("0", 4), 0, {2, 1}, {INT64_MAX, INT64_MAX}),
      tensor(storage("0", 4), 0, {INT64_MAX, 3}, {INT64_MAX, 1}),
      tensor(storage("0", 4), INT64_MAX, {1}, {1}),
      tensor(storage("0", 4), 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}),
      call(global("torch._utils", "_rebuild_tensor_v2"),
           {storage("0", 4), "N", integers({1}), integers({1}), "\x89", "}"}),
      call(global("torch._utils", "_rebuild_tensor_v2"), {storage("0", 4), "K\x00"s,
                                                          "](K\x01"
                                                          "e",
                                                          integers({1}), "\x89", "}"}),
  };
  for (std::size_t i = 0; i < bad.size(); ++i) {
    CAPTURE(i);
    const q2l::Error error = error_reading(one_tensor(bad[i]));
    CHECK(error.code() == ErrorCode::bad_shape);
    CHECK(error.place().subject == "w");
  }
  CHECK(read(one_tensor(tensor(storage("0", 4), 3, {3}, {0}))).tensors[0].read<float>() ==
        std::vector<float>{4, 4, 4});
  CHECK(read(one_tensor(tensor(storage("0", 4), 9, {0, 3}, {3, 1})))
            .tensors[0]
            .read<float>()
            .empty());
}

TEST_CASE("Attacks around good weights are refused", "[weights][torch][P4][P6]") {
  const std::string attack = call(global("posix", "system"), {text("touch canary")});
  for (const std::string& body : {dict({{"state_dict", dict({{"w", plain}})}, {"extra", attack}}),
                                  attack + "0" + dict({{"w", plain}}), attack + "\xff"}) {
    CHECK(error_reading(build_zip(members(body, {four_floats}))).code() ==
          ErrorCode::forbidden_global);
    CHECK(error_reading(legacy(body, {}, "")).code() == ErrorCode::forbidden_global);
  }
}

TEST_CASE("Names of tensors are checked", "[weights][torch]") {
  const auto named = [](const std::string& name) {
    return error_reading(build_zip(members(dict({{name, plain}}), {four_floats}))).code();
  };
  CHECK(named("") == ErrorCode::bad_header);
  CHECK(named(std::string(2000, 'n')) == ErrorCode::bad_header);
  CHECK(named("a\xff") == ErrorCode::bad_encoding);
  const std::string twice = dict({{"w", plain}, {"w", plain}});
  CHECK(error_reading(build_zip(members(twice, {four_floats}))).code() ==
        ErrorCode::duplicate_name);
}

TEST_CASE("The archive must hold exactly one checkpoint", "[weights][torch][Z14]") {
  CHECK(error_reading(build_zip({{"readme", "x", {}, ""}})).code() == ErrorCode::missing_entry);
  auto two = members(dict({{"w", plain}}), {four_floats});
  two.push_back({"other/data.pkl", program("N"), {}, ""});
  CHECK(error_reading(build_zip(two)).code() == ErrorCode::ambiguous);
  for (const std::string root : {"", "a/", "a/b c/"}) {
    auto renamed = members(dict({{"w", plain}}), {four_floats});
    for (ZipMember& member : renamed) member.name = root + member.name.substr(5);
    CHECK(read(build_zip(renamed)).tensors.size() == 1);
  }
}

TEST_CASE("Byte order and version are checked", "[weights][torch][Z15]") {
  const auto with = [](const std::string& name, const std::string& data) {
    auto all = members(dict({{"w", plain}}), {four_floats});
    all.erase(all.end() - 1);
    all.push_back({name, data, {}, ""});
    return build_zip(all);
  };
  CHECK(read(with("root/byteorder", "little")).tensors.size() == 1);
  CHECK(read(with("root/.data/serialization_id", "123")).tensors.size() == 1);
  CHECK(read(with("root/version", "10\n")).tensors.size() == 1);
  CHECK(error_reading(with("root/byteorder", "big")).code() == ErrorCode::unsupported);
  CHECK(error_reading(with("root/byteorder", "middle")).code() == ErrorCode::bad_header);
  CHECK(error_reading(with("root/version", "99\n")).code() == ErrorCode::unsupported);
  for (const std::string version : {"", "x", "3x", "-1", "99999999999999999999"})
    CHECK(error_reading(with("root/version", version)).code() == ErrorCode::bad_header);
}

TEST_CASE("A TorchScript program is called one", "[weights][torch][Z16]") {
  CHECK(error_reading(weight_fixture("torchscript.pt")).code() == ErrorCode::unsupported);
}

TEST_CASE("Damage of the pickle or its end is noticed", "[weights][torch][Z8]") {
  std::string file = one_tensor(plain);
  file[file.find("FloatStorage")] = 'G';
  const q2l::Error error = error_reading(file, {.state_dict = "", .verify = false});
  CHECK(error.code() == ErrorCode::checksum_mismatch);
  CHECK(error.place().subject == "root/data.pkl");
  auto trailing = members(dict({{"w", plain}}), {four_floats});
  trailing[0].data += "more";
  CHECK(error_reading(build_zip(trailing)).code() == ErrorCode::bad_opcode);
}

TEST_CASE("The older stream is checked at every step", "[weights][torch][P22]") {
  const std::string body = dict({{"w", plain}});
  const std::string storages = little_endian(std::uint64_t{4}) + four_floats;
  const std::string good = legacy(body, {"0"}, storages);
  CHECK(read(good).tensors[0].read<float>() == std::vector<float>{1, 2, 3, 4});
  CHECK(error_reading(legacy(body, {"0"}, storages, integer(1002))).code() ==
        ErrorCode::unsupported);
  CHECK(error_reading(legacy(body, {"0"}, storages, "N")).code() == ErrorCode::unsupported);
  CHECK(error_reading(legacy(body, {"0"}, storages, integer(1001), "]")).code() ==
        ErrorCode::bad_header);
  CHECK(error_reading(legacy(body, {"0"}, storages, integer(1001), "}")).code() ==
        ErrorCode::unsupported);
  CHECK(error_reading(program("N")).code() == ErrorCode::bad_magic);
  CHECK(error_reading(legacy(body, {}, "")).code() == ErrorCode::bad_storage);
  CHECK(error_reading(legacy(body, {"1"}, storages)).code() == ErrorCode::bad_storage);
  CHECK(error_reading(legacy(body, {"0", "0"}, storages + storages)).code() ==
        ErrorCode::bad_storage);
  CHECK(error_reading(good + "x").code() == ErrorCode::bad_offset);
  CHECK(error_reading(legacy(body, {"0"}, little_endian(std::uint64_t{3}) + four_floats)).code() ==
        ErrorCode::bad_offset);
  CHECK(error_reading(legacy(body, {"0"}, little_endian(std::uint64_t{1} << 62))).code() ==
        ErrorCode::size_mismatch);
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK(error_reading(good.substr(0, size)).code() == ErrorCode::truncated);
}

TEST_CASE("A module saved whole beside the weights of an older stream has no storage",
          "[weights][torch][P22]") {
  const auto beside = [](const std::string& kind) {
    const std::string reference =
        tuple({text(kind), global("criterion", "Loss"), text("loss.py"), text("source")}) + "Q";
    const std::string body = dict({{"model", dict({{"w", plain}})}, {"criterion", reference}});
    return legacy(body, {"0"}, little_endian(std::uint64_t{4}) + four_floats);
  };
  const std::string file = beside("module");
  CHECK(read(file).tensors[0].read<float>() == std::vector<float>{1, 2, 3, 4});
  CHECK(error_reading(beside("other")).code() == ErrorCode::bad_storage);
}

TEST_CASE("A view of a storage in the older stream stays inside it", "[weights][torch][P22]") {
  const auto viewed = [](std::int64_t offset, std::int64_t count) {
    const std::string reference =
        tuple({text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), integer(4),
               tuple({text("view"), integer(offset), integer(count)})}) +
        "Q";
    return legacy(dict({{"w", tensor(reference, 0, {2}, {1})}}), {"0"},
                  little_endian(std::uint64_t{4}) + four_floats);
  };
  const std::string file = viewed(2, 2);
  CHECK(read(file).tensors[0].read<float>() == std::vector<float>{3, 4});
  CHECK(error_reading(viewed(2, 1)).code() == ErrorCode::bad_shape);
  for (const auto& [offset, count] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {3, 2}, {5, 0}, {-1, 2}, {0, -1}, {INT64_MAX, INT64_MAX}})
    CHECK(error_reading(viewed(offset, count)).code() == ErrorCode::bad_storage);
}
