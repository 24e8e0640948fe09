// SPDX-License-Identifier: MIT
#include "query2label/model/query2label_model.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query2label/core/counter_random.hpp"
#include "query2label/core/thread_pool.hpp"
#include "query2label/model/model_file.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/packed_buffers.hpp"
#include "support/allocation_watch.hpp"
#include "support/byte_strings.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

namespace {

using q2l::ErrorCode;
using Model = q2l::Query2Label<float>;

const std::string checkpoints = std::string(Q2L_TESTS_DIR) + "/weights/data/";

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}

Model load_model(const std::string& path) {
  q2l::ModelFile file = q2l::open_model_file(path);
  return Model::load(file.weights, file.config);
}

std::vector<float> pictures(std::size_t batch, std::size_t height, std::size_t width,
                            std::uint64_t seed) {
  return q2l::counter_images<float>(batch, height, width, 0, 2, seed);
}

std::vector<float> logits_of(const Model& model, const std::vector<float>& pixels,
                             std::size_t batch, std::size_t height, std::size_t width,
                             std::size_t workers, std::vector<float>* maps = nullptr) {
  q2l::ThreadPool pool(workers);
  q2l::Session session(model, pool, workers);
  q2l::QueryOptions options;
  options.attention_maps = maps != nullptr;
  auto result = session.query(session.encode({pixels.data(), batch, height, width, 3}), options);
  if (maps) *maps = std::move(result.maps);
  return result.logits;
}

/// Writes `model`, loaded from `file`, as a packed file.
void write_packed(const std::string& path, const q2l::ModelFile& file, const Model& model) {
  std::map<std::string, q2l::WeightMap::Shape> shapes;
  for (const std::string& name : file.weights.names()) shapes[name] = file.weights.shape(name);
  q2l::write_packed_file<float, q2l::simd::DefaultArch>(path, model, shapes,
                                                        {{"config", file.document->dump()}});
}

/// Writes the safetensors file `from` to `to` after `change(tensors, metadata)`.
template <class Change>
void rewrite(const std::string& from, const std::string& to, Change&& change) {
  const q2l::MappedFile file(from);
  q2l::Safetensors content = q2l::parse_safetensors(file.bytes());
  std::vector<q2l::TensorBytes> tensors;
  for (const q2l::TensorEntry& t : content.tensors)
    tensors.push_back({t.name, t.dtype, t.shape, t.storage});
  change(tensors, content.metadata);
  q2l::write_safetensors(to, tensors, content.metadata);
}

constexpr std::array families{"resnet_basic", "resnet_bottleneck", "tresnet", "tresnet_v2", "swin",
                              "cvt"};

}  // namespace

TEST_CASE("A checkpoint that PyTorch wrote loads directly and scores as PyTorch does", "[model]") {
  const std::string name =
      GENERATE("resnet_basic.pkl", "resnet_basic_legacy.pth", "resnet_basic_views.pth",
               "resnet_basic_half.pth", "resnet_basic_bfloat16.pth", "resnet_bottleneck.pkl",
               "tresnet.pkl", "tresnet_v2.pkl", "swin.pkl", "cvt.pkl");
  CAPTURE(name);
  const std::string stem = checkpoints + name.substr(0, name.find('.'));
  const nlohmann::json expected = read_json(stem + ".expect.json");
  const auto shape = expected["input"]["shape"].get<std::vector<std::size_t>>();
  const auto pixels =
      pictures(shape[0], shape[2], shape[3], expected["input"]["seed"].get<std::uint64_t>());
  const Model model = load_model(checkpoints + name);
  const auto logits = logits_of(model, pixels, shape[0], shape[2], shape[3], 2);
  REQUIRE(expected["logits"].size() == shape[0]);
  for (std::size_t n = 0; n < shape[0]; ++n) {
    for (std::size_t k = 0; k < model.labels(); ++k) {
      const double truth = expected["logits"][n][k].get<double>();
      const double logit = static_cast<double>(logits[n * model.labels() + k]);
      CAPTURE(n, k, truth, logit);
      CHECK(std::abs(1 / (1 + std::exp(-logit)) - 1 / (1 + std::exp(-truth))) <= 1e-5);
    }
  }
}

TEST_CASE("A checkpoint's configuration is the one named, else config_new.json, else NAME.json",
          "[model]") {
  const q2l::test::TemporaryFolder folder;
  const std::string model =
      folder.write("model.pkl", q2l::test::content_of(checkpoints + "resnet_basic.pkl"));
  const auto write_heads = [&](const char* name, int heads) {
    nlohmann::json config = read_json(checkpoints + "resnet_basic.json");
    config["nheads"] = heads;
    return folder.write(name, config.dump());
  };
  const auto heads = [&](const std::filesystem::path& config) {
    return q2l::open_model_file(model, config).config.transformer.heads;
  };
  CHECK(heads("") == 4);  // the reference's default
  write_heads("model.json", 1);
  CHECK(heads("") == 1);
  write_heads("config_new.json", 2);
  CHECK(heads("") == 2);
  CHECK(heads(write_heads("named.json", 8)) == 8);
}

TEST_CASE("A stored position code must be the sine code", "[model][hostile]") {
  const q2l::test::TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  const std::size_t side = 5, width = load_model(Q2L_EXAMPLES_DIR "/data/demo.safetensors").width();
  const q2l::PositionEncoding<float> code(side, side, width);
  std::vector<float> stored(width * side * side);
  for (std::size_t d = 0; d < width; ++d)
    for (std::size_t t = 0; t < side * side; ++t)
      stored[d * side * side + t] = code.matrix().row(t)[d];
  const auto load = [&] {
    rewrite(Q2L_EXAMPLES_DIR "/data/demo.safetensors", path, [&](auto& tensors, auto&) {
      tensors.push_back({"backbone.1.pe",
                         q2l::Dtype::f32,
                         {1, width, side, side},
                         std::as_bytes(std::span(stored))});
    });
    static_cast<void>(load_model(path));
  };
  load();
  stored.back() += 0.005f;  // as narrow types round
  load();
  stored.back() += 0.01f;
  const q2l::Error error = q2l::test::error_of(load);
  CHECK(error.code() == q2l::ErrorCode::bad_weights);
  CHECK(error.place().subject == "backbone.1.pe");
}

TEST_CASE("The norm of an encoder without layers, which the reference stores, is left alone",
          "[model]") {
  const q2l::test::TemporaryFolder folder;
  std::vector<float> ones;
  const auto model = [&](bool has_norm) {
    const std::string path = folder / "model.safetensors";
    rewrite(Q2L_EXAMPLES_DIR "/data/demo.safetensors", path,
            [&](std::vector<q2l::TensorBytes>& tensors, auto& metadata) {
              std::erase_if(tensors, [](const q2l::TensorBytes& tensor) {
                return tensor.name.starts_with("transformer.encoder.");
              });
              nlohmann::json config = nlohmann::json::parse(metadata.at("config"));
              config["enc_layers"] = 0;
              config["pre_norm"] = true;
              const auto width = config.at("hidden_dim").get<std::size_t>();
              metadata = {{"config", config.dump()}};
              ones.assign(width, 1.0f);
              if (!has_norm) return;
              for (const char* name :
                   {"transformer.encoder.norm.weight", "transformer.encoder.norm.bias"})
                tensors.push_back({name, q2l::Dtype::f32, {width}, std::as_bytes(std::span(ones))});
            });
    return load_model(path);
  };
  const Model with = model(true), without = model(false);
  CHECK(with.config().transformer.pre_norm);
  const std::size_t side = with.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 4);
  CHECK(logits_of(with, pixels, 1, side, side, 1) == logits_of(without, pixels, 1, side, side, 1));
}

TEST_CASE("A configuration beside the metadata leaves the pixels as they say", "[model]") {
  const q2l::test::TemporaryFolder folder;
  rewrite(std::string(Q2L_EXAMPLES_DIR) + "/data/demo.safetensors", folder / "model.safetensors",
          [&](auto&, std::map<std::string, std::string>& metadata) {
            folder.write("config_new.json", metadata.at("config"));
            metadata.erase("config");
            metadata["mean"] = "[0.25, 0.5, 0.75]";
            metadata["std"] = "[1, 2, 4]";
          });
  const q2l::PixelNormalization expected{{0.25f, 0.5f, 0.75f}, {1.0f, 2.0f, 4.0f}};
  for (const char* config : {"", "config_new.json"}) {
    const auto path = *config ? (folder / config).string() : "";
    CHECK(q2l::open_model_file(folder / "model.safetensors", path).config.normalization ==
          expected);
  }
}

TEST_CASE("Logits and maps have the same bits for any number of threads and batch position",
          "[model]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const Model model = load_model(checkpoints + family + ".pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(4, side, side, 77);
  std::vector<float> maps;
  const std::vector<float> logits = logits_of(model, pixels, 4, side, side, 1, &maps);
  for (const std::size_t workers : {2u, 3u, 8u}) {
    CAPTURE(workers);
    std::vector<float> other_maps;
    CHECK(logits_of(model, pixels, 4, side, side, workers, &other_maps) == logits);
    CHECK(other_maps == maps);
  }
  const std::size_t size = side * side * 3;
  const std::size_t labels = model.labels();
  for (std::size_t n = 0; n < 4; ++n) {
    CAPTURE(n);
    const std::vector<float> one(pixels.data() + n * size, pixels.data() + (n + 1) * size);
    CHECK(logits_of(model, one, 1, side, side, 2) ==
          std::vector<float>(logits.data() + n * labels, logits.data() + (n + 1) * labels));
  }
}

TEST_CASE("A subset of labels gets the bits and maps it has among all", "[model]") {
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(2, side, side, 5);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  const auto memory = session.encode({pixels.data(), 2, side, side, 3});
  const auto all = session.query(memory, {{}, true});
  const std::vector<std::size_t> labels{model.labels() - 1, 0};
  const auto some = session.query(memory, {labels, true});
  REQUIRE(some.logits.size() == 2 * labels.size());
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t i = 0; i < labels.size(); ++i) {
      CHECK(some.image_logits(n)[i] == all.image_logits(n)[labels[i]]);
      for (std::size_t layer = 0; layer < all.layers; ++layer) {
        CHECK(some.mean_map(n, layer, i) == all.mean_map(n, layer, labels[i]));
      }
    }
  }
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(session.query(memory, {{model.labels()}, false}));
        }).code() == ErrorCode::bad_argument);
}

TEST_CASE("Attention maps are distributions over the grid", "[model]") {
  const Model model = load_model(checkpoints + "cvt.pkl");
  const std::size_t side = model.config().image_size;
  std::vector<float> maps;
  logits_of(model, pictures(1, side, side, 9), 1, side, side, 1, &maps);
  const std::size_t tokens = side / model.stride() * (side / model.stride());
  REQUIRE(maps.size() % tokens == 0);
  for (std::size_t row = 0; row < maps.size(); row += tokens) {
    double sum = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      REQUIRE(maps[row + t] >= 0);
      sum += static_cast<double>(maps[row + t]);
    }
    CHECK(sum == Approx(1).margin(1e-5));
  }
}

TEST_CASE("Other resolutions work where the stride divides them, and are refused elsewhere",
          "[model]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const Model model = load_model(checkpoints + family + ".pkl");
  const std::size_t height = 3 * 32, width = 4 * 32;
  const std::vector<float> pixels = pictures(1, height, width, 3);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  const auto result = session.query(session.encode({pixels.data(), 1, height, width, 3}));
  CHECK(result.height == height / model.stride());
  CHECK(result.width == width / model.stride());
  const std::vector<float> odd = pictures(1, 40, 40, 3);
  CHECK(q2l::test::error_of([&] { logits_of(model, odd, 1, 40, 40, 1); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("A map for the features must have room for every picture", "[model]") {
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(2, side, side, 3);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  const std::size_t extent = side / model.stride(), channels = model.backbone_channels();
  std::vector<float> one(extent * extent * channels);
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(session.encode({pixels.data(), 2, side, side, 3},
                                           {one.data(), 1, extent, extent, channels}));
        }).code() == ErrorCode::bad_argument);
}

TEST_CASE("A model of one family alone answers as the one for any", "[model]") {
  q2l::ModelFile file = q2l::open_model_file(checkpoints + "resnet_basic.pkl");
  using Arch = q2l::simd::DefaultArch;
  const auto single = q2l::Query2Label<float, Arch, q2l::ResNet>::load(file.weights, file.config);
  const Model any = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = any.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(single, runner, 1);
  CHECK(session.query(session.encode({pixels.data(), 1, side, side, 3})).logits ==
        logits_of(any, pixels, 1, side, side, 1));

  q2l::ModelFile other = q2l::open_model_file(checkpoints + "swin.pkl");
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(
              q2l::Query2Label<float, Arch, q2l::ResNet>::load(other.weights, other.config));
        }).code() == ErrorCode::bad_config);
}

TEST_CASE("A ResNet without blocks in a stage is refused", "[model]") {
  q2l::ModelFile file = q2l::open_model_file(checkpoints + "resnet_basic.pkl");
  std::get<q2l::ResNetShape>(file.config.backbone).layers[3] = 0;
  CHECK(q2l::test::error_of([&] {
          static_cast<void>(Model::load(file.weights, file.config));
        }).code() == ErrorCode::bad_config);
}

TEST_CASE("The host's rounding changes nothing at other resolutions either",
          "[model][hostile][N10]") {
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::vector<float> pixels = pictures(1, 128, 64, 3);
  const std::vector<float> expected = logits_of(model, pixels, 1, 128, 64, 1);
  std::fesetround(FE_UPWARD);
  const std::vector<float> logits = logits_of(model, pixels, 1, 128, 64, 1);
  std::fesetround(FE_TONEAREST);
  CHECK(logits == expected);
}

TEST_CASE("After the first call of a size a session allocates no more scratch", "[model]") {
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(2, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  static_cast<void>(session.query(session.encode({pixels.data(), 2, side, side, 3})));
  const std::size_t bytes = session.workspace_bytes();
  CHECK(bytes > 0);
  static_cast<void>(session.query(session.encode({pixels.data(), 1, side, side, 3})));
  static_cast<void>(session.query(session.encode({pixels.data(), 2, side, side, 3})));
  CHECK(session.workspace_bytes() == bytes);
  const q2l::test::AllocationWatch watch;
  const auto memory = session.encode({pixels.data(), 2, side, side, 3});
  CHECK(watch.total() == 0);  // the tokens lie in an AlignedBuffer
  const auto result = session.query(memory);
  CHECK(watch.total() == result.logits.size() * sizeof(float));
}

TEST_CASE("What a query writes must have room for its answers", "[model]") {
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  const auto memory = session.encode({pixels.data(), 1, side, side, 3});
  const std::size_t width = model.width(), labels = model.labels();
  std::vector<float> logits(labels + 1), decoded((labels + 1) * (width + 1));
  q2l::Workspace workspace(std::size_t{64} << 20);
  const auto code = [&](std::size_t columns, std::size_t rows_decoded, std::size_t width_decoded) {
    return q2l::test::error_of([&] {
             model.query({runner, 1, workspace}, memory.matrix(), 1, model.position(), {},
                         {q2l::Matrix<float>{logits.data(), 1, columns}, nullptr,
                          q2l::Matrix<float>{decoded.data(), rows_decoded, width_decoded}});
           })
        .code();
  };
  CHECK(code(labels + 1, labels, width) == q2l::ErrorCode::bad_argument);
  CHECK(code(labels, labels - 1, width) == q2l::ErrorCode::bad_argument);
  CHECK(code(labels, labels, width - 1) == q2l::ErrorCode::bad_argument);
  CHECK(code(labels, labels + 1, width) == q2l::ErrorCode::bad_argument);
}

TEST_CASE("An inference takes subnormal numbers for zero, whatever its host does",
          "[model][hostile][N4]") {
  struct Doubled final : q2l::LayerObserver {
    void observe(std::string_view, q2l::Matrix<const float>, q2l::Matrix<const float>) override {
      const volatile float subnormal = std::numeric_limits<float>::denorm_min();
      sum = subnormal + subnormal;
    }
    float sum = -1;
  } inside, outside;
  const Model model = load_model(checkpoints + "resnet_basic.pkl");
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 4);
  q2l::SerialRunner runner;
  q2l::Session session(model, runner, 1);
  session.set_observer(&inside);
  static_cast<void>(session.encode({pixels.data(), 1, side, side, 3}));
  outside.observe("", {}, {});
  CHECK(inside.sum == 0.0f);
  CHECK(outside.sum > 0.0f);
}

TEST_CASE("A packed file gives the bits of the plain one, mapped or read", "[model][packed]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const q2l::test::TemporaryFolder folder;
  q2l::ModelFile file = q2l::open_model_file(checkpoints + family + ".pkl");
  const Model model = Model::load(file.weights, file.config);
  const std::string packed = folder / "packed";
  write_packed(packed, file, model);
  const std::size_t side = model.config().image_size;
  const std::vector<float> pixels = pictures(1, side, side, 77);
  std::vector<float> maps;
  const std::vector<float> logits = logits_of(model, pixels, 1, side, side, 2, &maps);
  for (const q2l::FileAccess access : {q2l::FileAccess::map, q2l::FileAccess::read}) {
    std::optional<q2l::ModelFile> opened = q2l::open_model_file(packed, "", {}, {.access = access});
    CHECK(opened->weights.source().format == q2l::WeightFormat::packed);
    q2l::verify_buffers(opened->weights);
    const std::string checksum = opened->weights.source().metadata.at("crc32");
    const Model mapped = Model::load(opened->weights, opened->config);
    opened.reset();  // the model keeps its file open
    CHECK(q2l::BufferList(mapped).checksum() == checksum);
    std::vector<float> mapped_maps;
    CHECK(logits_of(mapped, pixels, 1, side, side, 2, &mapped_maps) == logits);
    CHECK(mapped_maps == maps);
  }
}

TEST_CASE("Buffers have the same bits for any number of threads that pack", "[model][packed]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  std::vector<std::string> checksums;
  for (const std::size_t threads : {1u, 2u, 3u}) {
    q2l::ModelFile file =
        q2l::open_model_file(checkpoints + family + ".pkl", "", {}, {.threads = threads});
    checksums.push_back(q2l::BufferList(Model::load(file.weights, file.config)).checksum());
  }
  CHECK(checksums[1] == checksums[0]);
  CHECK(checksums[2] == checksums[0]);
}

TEST_CASE("A self-test with counts that are no whole numbers is refused", "[model]") {
  const auto test = nlohmann::json::parse(
      R"({"seed": 1, "shape": [1, 3, 32, 32], "offset": 1, "scale": 1, "logits": [0.5]})");
  CHECK(q2l::detail::read_self_test(test).height == 32);
  for (const char* change : {R"({"seed": 1e300})", R"({"seed": -1})", R"({"seed": true})",
                             R"({"shape": [1, 3, 1e300, 32]})", R"({"shape": [1, 3, 32, 31.5]})",
                             R"({"shape": [1, 3, -32, 32]})", R"({"shape": 3})"}) {
    CAPTURE(change);
    nlohmann::json changed = test;
    changed.update(nlohmann::json::parse(change));
    const q2l::Error error =
        q2l::test::error_of([&] { (void)q2l::detail::read_self_test(changed); });
    CHECK(error.code() == ErrorCode::bad_config);
    CHECK(error.place().subject == "self_test");
  }
}

TEST_CASE("A packed file that is foreign or damaged is refused", "[model][packed]") {
  const q2l::test::TemporaryFolder folder;
  const std::string packed = folder / "packed", damaged = folder / "damaged";
  q2l::ModelFile file = q2l::open_model_file(checkpoints + "resnet_basic.pkl");
  write_packed(packed, file, Model::load(file.weights, file.config));
  using Tensors = std::vector<q2l::TensorBytes>;
  using Metadata = std::map<std::string, std::string>;
  const auto error_after = [&](auto&& change) {
    rewrite(packed, damaged, change);
    return q2l::test::error_of([&] { (void)load_model(damaged); });
  };
  const std::string own = q2l::PackedLayout::of<float, q2l::simd::DefaultArch>().describe();

  for (auto change : std::array<void (*)(q2l::PackedLayout&), 6>{
           [](q2l::PackedLayout& layout) { ++layout.version; },
           [](q2l::PackedLayout& layout) { layout.lanes *= 2; },
           [](q2l::PackedLayout& layout) { ++layout.tile_vectors; },
           [](q2l::PackedLayout& layout) { ++layout.narrow_vectors; },
           [](q2l::PackedLayout& layout) { ++layout.int8_group; },
           [](q2l::PackedLayout& layout) { ++layout.int8_offset; }}) {
    const q2l::Error foreign = error_after([&](Tensors&, Metadata& metadata) {
      q2l::PackedLayout layout = q2l::PackedLayout::of<float, q2l::simd::DefaultArch>();
      change(layout);
      metadata["packed"] = q2l::packed_layout_text(layout);
    });
    CHECK(foreign.code() == ErrorCode::unsupported);
    CHECK(foreign.place().expected == own);
    CHECK(foreign.detail().find("convert the plain model file again") != std::string::npos);
  }

  rewrite(packed, damaged, [](Tensors&, Metadata& metadata) {
    q2l::PackedLayout layout = q2l::PackedLayout::of<float, q2l::simd::DefaultArch>();
    layout.instruction_set = "of another name, with the same layout";
    metadata["packed"] = q2l::packed_layout_text(layout);
  });
  CHECK_NOTHROW(load_model(damaged));

  const q2l::Error no_shapes =
      error_after([](Tensors&, Metadata& metadata) { metadata.erase("tensors"); });
  CHECK(no_shapes.code() == ErrorCode::missing_entry);
  CHECK(no_shapes.place().subject == "tensors");
  const q2l::Error half = q2l::test::error_of(
      [&] { (void)q2l::open_model_file(packed, "", {}, {}, q2l::Precision::bf16); });
  CHECK(half.code() == ErrorCode::bad_argument);
  CHECK(half.place().expected == "f32");

  const q2l::Error missing = error_after([](Tensors& t, Metadata&) { t.erase(t.begin() + 3); });
  CHECK(missing.code() == ErrorCode::missing_tensor);
  CHECK(missing.place().subject.starts_with("backbone.blocks.0.convolutions."));
  CHECK(error_after([](Tensors& t, Metadata&) {
          t.push_back({"more", q2l::Dtype::f32, {16}, t[0].bytes.first(64)});
        }).code() == ErrorCode::unexpected_tensor);
  CHECK(error_after([](Tensors& t, Metadata&) { t[0].dtype = q2l::Dtype::i32; }).code() ==
        ErrorCode::bad_dtype);
  const q2l::Error cut = error_after([](Tensors& t, Metadata&) {
    t[0].shape[0] -= 16;
    t[0].bytes = t[0].bytes.first(t[0].bytes.size() - 64);
  });
  CHECK(cut.code() == ErrorCode::size_mismatch);
  CHECK(cut.place().subject == "backbone.stem.weights.panels");
  CHECK(error_after([](Tensors& t, Metadata&) {
          t.insert(t.begin(), {"shift", q2l::Dtype::f32, {1}, t[0].bytes.first(4)});
        }).code() == ErrorCode::bad_offset);

  const std::string layout = q2l::packed_layout_text({});
  const auto with = [&](const std::string& lanes) {
    return std::string(layout).replace(layout.find("\"lanes\":0"), 9, "\"lanes\":" + lanes);
  };
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{}"), std::string(R"({"version":1})"),
        std::string(R"({"version":-1})"), with("-1"), with("1e300"), with("true")}) {
    CAPTURE(text);
    const ErrorCode code =
        error_after([&](Tensors&, Metadata& metadata) { metadata["packed"] = text; }).code();
    CHECK((code == ErrorCode::bad_header || code == ErrorCode::bad_json));
  }
  for (const auto& shapes : std::vector<std::pair<std::string, ErrorCode>>{
           {"", ErrorCode::bad_json},
           {"{}", ErrorCode::missing_tensor},
           {R"({"a":1})", ErrorCode::bad_header},
           {R"({"a":[-1]})", ErrorCode::bad_header},
           {R"({"":[1]})", ErrorCode::bad_header},
           {R"({"a":[1099511627776]})", ErrorCode::limit_exceeded},
           {R"({"a":[4294967296,4294967296,4294967296]})", ErrorCode::bad_shape}}) {
    CAPTURE(shapes.first);
    CHECK(error_after([&](Tensors&, Metadata& metadata) {
            metadata["tensors"] = shapes.first;
          }).code() == shapes.second);
  }

  const std::string content = q2l::test::content_of(packed);
  for (const std::size_t length : {content.size() - 1, content.size() / 2, std::size_t{100}}) {
    folder.write("damaged", content.substr(0, length));
    const ErrorCode code = q2l::test::error_of([&] { (void)load_model(damaged); }).code();
    CHECK((code == ErrorCode::truncated || code == ErrorCode::bad_header));
  }
}

TEST_CASE("A packed file whose list of tensors is damaged gives a typed error or the same model",
          "[model][packed][hostile][J13]") {
  const std::string family = GENERATE(from_range(families.begin(), families.end()));
  CAPTURE(family);
  const q2l::test::TemporaryFolder folder;
  const std::string packed = folder / "packed", damaged = folder / "damaged";
  q2l::ModelFile file = q2l::open_model_file(checkpoints + family + ".pkl");
  const Model model = Model::load(file.weights, file.config);
  write_packed(packed, file, model);
  const std::string checksum = q2l::BufferList(model).checksum();
  const std::string content = q2l::test::content_of(packed);
  const auto buffers = static_cast<std::size_t>(
      q2l::parse_safetensors(std::as_bytes(std::span(content))).tensors.front().storage.data() -
      std::as_bytes(std::span(content)).data());
  const auto header =
      nlohmann::json::parse(content.substr(sizeof(std::uint64_t), buffers - sizeof(std::uint64_t)));
  const auto tensors = nlohmann::json::parse(header["__metadata__"]["tensors"].get<std::string>());

  std::size_t refused = 0, unharmed = 0;
  const auto load_with = [&](const nlohmann::json& changed, const std::string& name) {
    const std::string shape = changed.value(name, nlohmann::json()).dump();
    CAPTURE(name, shape);
    nlohmann::json new_header = header;
    new_header["__metadata__"]["tensors"] = changed.dump();
    std::string text = new_header.dump();
    text.resize(q2l::round_up(text.size(), q2l::cache_line) + q2l::cache_line - 8, ' ');
    folder.write("damaged", q2l::test::little_endian(std::uint64_t{text.size()}) + text +
                                content.substr(buffers));
    std::string loaded = checksum;
    bool is_named = true;
    try {
      q2l::ModelFile opened = q2l::open_model_file(damaged, "", {}, {.threads = 1});
      loaded = q2l::BufferList(Model::load(opened.weights, opened.config)).checksum();
      ++unharmed;
    } catch (const q2l::Error& error) {
      // Without its first tensor a backbone's family is not known: then all families' are listed.
      is_named = !error.place().subject.empty() || error.detail().find(name) != std::string::npos;
      ++refused;
    }
    if (loaded != checksum || !is_named) FAIL("another model, or an error that names no tensor");
  };
  for (const auto& [name, shape] : tensors.items()) {
    // The transformer is the same in all of them.
    if (family != families.front() && name.starts_with("transformer.")) continue;
    nlohmann::json changed = tensors;
    changed.erase(name);
    load_with(changed, name);
    changed[name + "x"] = shape;
    load_with(changed, name);
    const auto reshape = [&, &name = name, &shape = shape](const nlohmann::json& other) {
      changed = tensors;
      changed[name] = other;
      if (other != shape) load_with(changed, name);
    };
    reshape(nlohmann::json::array());
    nlohmann::json other = shape;
    std::reverse(other.begin(), other.end());
    reshape(other);
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const auto extent = shape[d].get<std::uint64_t>();
      for (const std::uint64_t wrong : {std::uint64_t{0}, extent + 1}) {
        other = shape;
        other[d] = wrong;
        reshape(other);
      }
    }
  }
  CHECK(refused > tensors.size());
  CAPTURE(unharmed);
  CHECK(unharmed < refused);  // tensors that a model does not need, such as a batch counter
}

TEST_CASE("Damaged numbers of a packed file are found on request and do no harm",
          "[model][packed]") {
  const q2l::test::TemporaryFolder folder;
  const std::string packed = folder / "packed", damaged = folder / "damaged";
  q2l::ModelFile file = q2l::open_model_file(checkpoints + "resnet_basic.pkl");
  write_packed(packed, file, Model::load(file.weights, file.config));
  std::string content = q2l::test::content_of(packed);
  content.back() ^= 1;
  folder.write("damaged", content);
  const q2l::ModelFile flipped = q2l::open_model_file(damaged);
  CHECK(q2l::test::error_of([&] { q2l::verify_buffers(flipped.weights); }).code() ==
        ErrorCode::checksum_mismatch);

  rewrite(packed, damaged, [](auto& tensors, auto& metadata) {
    static const std::vector<std::byte> ones(std::size_t{1} << 22, std::byte{0xff});
    for (q2l::TensorBytes& tensor : tensors) {
      REQUIRE(tensor.bytes.size() <= ones.size());
      tensor.bytes = std::span(ones).first(tensor.bytes.size());
    }
    metadata.erase("crc32");
  });
  q2l::ModelFile nothing_but_nan = q2l::open_model_file(damaged);
  CHECK(q2l::test::error_of([&] { q2l::verify_buffers(nothing_but_nan.weights); }).code() ==
        ErrorCode::missing_entry);
  const Model model = Model::load(nothing_but_nan.weights, nothing_but_nan.config);
  const std::size_t side = model.config().image_size;
  CHECK(std::isnan(logits_of(model, pictures(1, side, side, 1), 1, side, side, 2).front()));
}
