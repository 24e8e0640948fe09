// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <query2label/weights/read_weights.hpp>
#include <query2label/weights/safetensors_writer.hpp>
#include <query2label/weights/weight_map.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

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

/// Two small tensors in memory, a [2] and b [2, 2], 1.5 everywhere.
WeightMap small_map() {
  WeightMap map;
  map.add("a", {2}, [] { return std::vector<float>(2, 1.5f); });
  map.add("b", {2, 2}, [] { return std::vector<float>(4, 1.5f); });
  return map;
}

}  // namespace

TEST_CASE("Tensors in memory are made when taken, again and in any precision", "[weights][map]") {
  int made = 0;
  WeightMap map;
  map.add("x", {2, 1}, [&] {
    ++made;
    return std::vector<float>{1, -2};
  });
  CHECK(made == 0);
  CHECK(map.source().format == WeightFormat::memory);
  CHECK(map.take<float>("x", {2, 1}) == std::vector<float>{1, -2});
  CHECK(map.take<double>("x", {2, 1}) == std::vector<double>{1, -2});
  CHECK(made == 2);
  CHECK_NOTHROW(map.finish());
  CHECK(error_of([&] { map.add("x", {1}, nullptr); }).code() == ErrorCode::duplicate_name);
  map.add("short", {3}, [] { return std::vector<float>(2); });
  CHECK(error_of([&] { (void)map.take<float>("short", {3}); }).code() == ErrorCode::size_mismatch);
  map.add("nan", {1}, [] { return std::vector<float>{0.0f / 0.0f}; });
  const q2l::Error error = error_of([&] { (void)map.take<float>("nan", {1}); });
  CHECK(error.code() == ErrorCode::non_finite);
  CHECK(error.place().subject == "nan");
}

TEST_CASE("All that does not fit is one error that lists it", "[weights][map][J13]") {
  WeightMap map = small_map();
  CHECK(map.take<float>("c", {1}) == std::vector<float>{0});
  CHECK(map.take<float>("a", {3}) == std::vector<float>{0, 0, 0});
  const q2l::Error all = error_of([&] { map.finish(); });
  CHECK(all.code() == ErrorCode::missing_tensor);
  CHECK(all.place().subject == "c");
  CHECK(all.detail() ==
        "the weights do not fit the model: 1 missing (c); 1 of another shape (a [2] instead of "
        "[3]); 1 unexpected (b)");

  WeightMap misshapen = small_map();
  (void)misshapen.take<float>("a", {2, 1});
  const q2l::Error shape = error_of([&] { misshapen.finish(); });
  CHECK(shape.code() == ErrorCode::shape_mismatch);
  CHECK(shape.place().subject == "a");
  CHECK(shape.place().expected == "[2, 1]");
  CHECK(shape.place().actual == "[2]");

  WeightMap unexpected = small_map();
  (void)unexpected.take<float>("a", {2});
  CHECK(error_of([&] { unexpected.finish(); }).code() == ErrorCode::unexpected_tensor);
  unexpected.ignore("b");
  unexpected.ignore("not there");
  CHECK_NOTHROW(unexpected.finish());

  WeightMap many = small_map();
  for (int i = 0; i < 7; ++i) (void)many.take<float>("n" + std::to_string(i), {1});
  CHECK(error_of([&] { many.finish(); }).detail().find("7 missing (n0, n1, n2, n3, n4, ...)") !=
        std::string::npos);
  CHECK(error_of([&] { (void)many.shape("nowhere"); }).code() == ErrorCode::missing_tensor);
}

TEST_CASE("A wrong configuration cannot ask for more memory than the weights have",
          "[weights][map]") {
  WeightMap map = small_map();
  CHECK(error_of([&] { (void)map.take<float>("c", {1'000'000'000'000}); }).code() ==
        ErrorCode::missing_tensor);
  WeightMap misshapen = small_map();
  CHECK(error_of([&] { (void)misshapen.take<float>("a", {1'000'000'000'000}); }).code() ==
        ErrorCode::shape_mismatch);
  CHECK(error_of([&] {
          (void)misshapen.take<float>("a", {1ull << 40, 1ull << 40});
        }).code() == ErrorCode::bad_shape);
  WeightMap many = small_map();
  const q2l::Error error = error_of([&] {
    for (int i = 0; i < 100; ++i) (void)many.take<float>("n" + std::to_string(i), {1000});
  });
  CHECK(error.code() == ErrorCode::missing_tensor);
  CHECK(error.detail().find("66 missing") != std::string::npos);
}

TEST_CASE("A non-finite weight names file, tensor and place", "[weights][map][N1]") {
  const TemporaryFolder folder;
  const std::vector<float> values{1, 2, -1.0f / 0.0f, 3};
  q2l::write_safetensors(
      folder / "m",
      std::vector<q2l::TensorBytes>{{"w", Dtype::f32, {2, 2}, std::as_bytes(std::span(values))}});
  WeightMap map = q2l::read_weights(folder / "m");
  const std::uint64_t data = std::filesystem::file_size(folder / "m") - 16;
  const q2l::Error error = error_of([&] { (void)map.take<float>("w", {2, 2}); });
  CHECK(error.code() == ErrorCode::non_finite);
  CHECK(error.place().path == (folder / "m").string());
  CHECK(error.place().subject == "w");
  CHECK(error.place().offset == data + 8);
  CHECK(error.place().actual == "element 2");
}

TEST_CASE("A weight that a scale makes infinite is named", "[weights][map][N2]") {
  const TemporaryFolder folder;
  const std::vector<std::int8_t> values{1, 1, -127, 3};
  const std::vector<float> scale{1, 3e38f};
  q2l::write_safetensors(
      folder / "m",
      std::vector<q2l::TensorBytes>{{"w", Dtype::i8, {2, 2}, std::as_bytes(std::span(values))},
                                    {"w_scale", Dtype::f32, {2}, std::as_bytes(std::span(scale))}});
  WeightMap map = q2l::read_weights(folder / "m");
  const q2l::Error error = error_of([&] { (void)map.take<float>("w", {2, 2}); });
  CHECK(error.code() == ErrorCode::non_finite);
  CHECK(error.place().path == (folder / "m").string());
  CHECK(error.place().subject == "w");
  CHECK(error.place().actual == "element 2");
}

TEST_CASE("A file that changes while a model is built from it is noticed", "[weights][map][S18]") {
  const TemporaryFolder folder;
  const auto path = folder.write("m.pth", weight_fixture("protocol5_legacy.pth"));
  WeightMap map = q2l::read_weights(path);
  for (const std::string& name : map.names()) map.ignore(name);
  CHECK_NOTHROW(map.finish());
  std::ofstream(path, std::ios::app) << "x";
  CHECK(error_of([&] { map.finish(); }).code() == ErrorCode::file_changed);
}
