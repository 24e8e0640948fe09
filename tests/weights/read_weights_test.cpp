// SPDX-License-Identifier: MIT
#include "query2label/weights/read_weights.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "query2label/weights/safetensors_writer.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"
#include "support/weight_fixtures.hpp"

namespace {

using q2l::Dtype;
using q2l::ErrorCode;
using q2l::WeightFormat;
using q2l::WeightMap;
using q2l::test::error_of;
using q2l::test::TemporaryFolder;
using q2l::test::weight_fixture;
using namespace std::string_literals;

q2l::Error error_loading(const std::filesystem::path& path) {
  return error_of([&] { (void)q2l::read_weights(path); });
}

}  // namespace

TEST_CASE("Formats are told by content and prefixes taken off", "[weights][map]") {
  const TemporaryFolder folder;
  for (const auto& [name, format] : std::vector<std::pair<std::string, WeightFormat>>{
           {"training.pth", WeightFormat::torch_zip},
           {"training_legacy.pth", WeightFormat::torch_legacy}}) {
    // Under a name that lies.
    const auto path = folder.write("model.safetensors", weight_fixture(name));
    for (const q2l::FileAccess access : {q2l::FileAccess::map, q2l::FileAccess::read}) {
      WeightMap map = q2l::read_weights(path, {}, {access, {}});
      CHECK(map.source().format == format);
      CHECK(map.source().note == "tensors of 'state_dict', without the prefix 'module.'");
      CHECK(map.names().size() == 7);
      CHECK(map.shape("0.weight") == WeightMap::Shape{2, 3});
      CHECK(map.entry("1.num_batches_tracked").dtype == Dtype::i64);
      CHECK(map.source().foreign_globals.contains("argparse.Namespace"));
      CHECK(map.take<float>("0.weight", {2, 3}) ==
            std::vector<float>{-21 / 8.f, 2, -11 / 8.f, 26 / 8.f, -1 / 8.f, -28 / 8.f});
    }
  }
}

TEST_CASE("The state dict that was not taken is told, too", "[weights][map][P21]") {
  const TemporaryFolder folder;
  const auto path = folder.write("model.pth", weight_fixture("with_average.pth"));
  CHECK(q2l::read_weights(path).source().note ==
        "tensors of 'model', not of 'model_ema', without the prefix 'module.'");
}

TEST_CASE("A safetensors file gives its metadata, and its prefix goes, too", "[weights][map]") {
  const TemporaryFolder folder;
  const std::vector<double> values{1, 2};
  const auto data = std::as_bytes(std::span(values));
  q2l::write_safetensors(
      folder / "m.pth",
      std::vector<q2l::TensorBytes>{{"model.module.x", Dtype::f64, {2}, data},
                                    {"model.module.y", Dtype::f64, {1, 2}, data}},
      {{"config", "{}"}});
  WeightMap map = q2l::read_weights(folder / "m.pth");
  CHECK(map.source().format == WeightFormat::safetensors);
  CHECK(map.source().metadata.at("config") == "{}");
  CHECK(map.source().note == "without the prefix 'model.module.'");
  CHECK(map.take<double>("x", {2}) == values);
  CHECK(map.take<float>("y", {1, 2}) == std::vector<float>{1, 2});
  CHECK_NOTHROW(map.finish());
}

TEST_CASE("Other files are called what they look like", "[weights][map][Z1]") {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> cases{
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"},
      {"<!DOCTYPE html><html>", "HTML"},
      {"\x1f\x8b\x08", "gzip"},
      {"7z\xbc\xaf\x27\x1c", "7z"},
      {"Rar!\x1a\x07\x01", "RAR"},
      {std::string(257, 'a') + "ustar", "tar"},
      {"\xfd\x37zXZ", "xz"},
      {"{\"error\":1}", "JSON"},
      {"hello, world", "neither"},
      {"\x01", "neither"},
  };
  for (const auto& [content, words] : cases) {
    const q2l::Error error = error_loading(folder.write("model.pth", content));
    CHECK(error.code() == ErrorCode::bad_magic);
    CHECK(error.detail().find(words) != std::string::npos);
    CHECK(error.place().path == (folder / "model.pth").string());
  }
  CHECK(error_loading(folder.write("empty", "")).code() == ErrorCode::truncated);
  CHECK(error_loading(folder.write("plain.pkl", "\x80\x02N.")).code() == ErrorCode::bad_magic);
  CHECK(error_loading(folder / "missing").code() == ErrorCode::io);
  CHECK(error_loading(folder.path()).code() == ErrorCode::not_regular_file);
}
