// SPDX-License-Identifier: MIT
#include "query2label/tagger.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "query2label/image/heat_map.hpp"
#include "query2label/image/preprocess.hpp"
#include "query2label/image/resize.hpp"
#include "query2label/model/eigen_view.hpp"
#include "query2label/model/model_config.hpp"
#include "query2label/model/query2label_model.hpp"
#include "query2label/model/session.hpp"
#include "query2label/weights/safetensors.hpp"
#include "query2label/weights/safetensors_writer.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"
#include "support/thread_per_worker.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using q2l::ErrorCode;
using q2l::Tagger;
using q2l::test::error_of;
using q2l::test::ThreadPerWorker;

const std::string examples = std::string(Q2L_EXAMPLES_DIR) + "/data/";
const std::string demo = examples + "demo.safetensors";

template <class T>
concept GivesModel = requires(T&& tagger) {
  std::forward<T>(tagger).model();
};
static_assert(GivesModel<const Tagger&> && !GivesModel<Tagger>);
template <class T>
concept GivesRunner = requires(T&& tagger) {
  std::forward<T>(tagger).runner();
};
static_assert(GivesRunner<const Tagger&> && !GivesRunner<Tagger>);
template <class T>
concept GivesViews = requires(T&& result) {
  std::forward<T>(result).image_logits(0);
}
|| requires(T&& result) { std::forward<T>(result).map(0, 0, 0, 0); };
static_assert(GivesViews<const q2l::QueryResult<float>&> && !GivesViews<q2l::QueryResult<float>>);

}  // namespace

TEST_CASE("What a temporary tagger gives outlives it", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 1});
  std::size_t count = 0;
  for (const std::string& name : Tagger::load(demo, {.threads = 1}).labels()) {
    CHECK(name == tagger.labels()[count++]);
  }
  CHECK(count == tagger.labels().size());
  const auto& config = Tagger::load(demo, {.threads = 1}).config();
  CHECK(config.image_size == tagger.config().image_size);
  const auto& thresholds = Tagger::load(demo, {.threads = 1}).thresholds();
  CHECK(thresholds == tagger.thresholds());
}

TEST_CASE("A tagger works on in a process that was forked", "[tagger]") {
  const q2l::Image picture = q2l::read_image(examples + "scene1.jpg");
  auto tagger = std::make_unique<const Tagger>(Tagger::load(demo, {.threads = 3}));
  const std::vector<float> scores = tagger->scores(picture);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    const bool is_same = tagger->scores(picture) == scores;
    tagger.reset();
    ::_exit(is_same ? 0 : 1);
  }
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("Errors about pictures and answers say which", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 1});
  std::vector<q2l::Image> pictures(3, q2l::read_image(examples + "scene1.jpg"));
  pictures[2].rgb.pop_back();
  const q2l::Error bad = error_of([&] { static_cast<void>(tagger.scores(pictures)); });
  CHECK(bad.code() == ErrorCode::bad_argument);
  CHECK(bad.place().subject == "picture 2");
  CHECK(error_of([&] { static_cast<void>(tagger.explain(pictures[2])); }).place().subject ==
        "picture 0");

  // The head's weights of label 1 overflow.
  const q2l::test::TemporaryFolder folder;
  const std::string copy = folder / "model.safetensors";
  const q2l::MappedFile file(demo);
  const q2l::Safetensors content = q2l::parse_safetensors(file.bytes());
  const std::size_t width = tagger.model().width();
  std::vector<float> head(tagger.labels().size() * width, 0.0f);
  std::fill_n(head.begin() + static_cast<std::ptrdiff_t>(width), width, 3e38f);
  std::vector<q2l::TensorBytes> tensors;
  for (const q2l::TensorEntry& t : content.tensors) {
    tensors.push_back({t.name, t.dtype, t.shape, t.storage});
    if (t.name != "fc.W") continue;
    tensors.back().dtype = q2l::Dtype::f32;
    tensors.back().bytes = std::as_bytes(std::span(head));
  }
  q2l::write_safetensors(copy, tensors, content.metadata);
  pictures[2] = pictures[1];
  const Tagger overflowing = Tagger::load(copy, {.threads = 1});
  const q2l::Error error = error_of([&] { static_cast<void>(overflowing.tag(pictures)); });
  CHECK(error.code() == ErrorCode::non_finite_output);
  CHECK(error.place().path == copy);
  CHECK(error.place().subject == "picture 0, label " + tagger.labels()[1]);
  CHECK_FALSE(error.place().actual.empty());
}

TEST_CASE("The bundled model passes its self-test and tags the bundled pictures", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 2, .self_test = true});
  CHECK(tagger.labels().size() >= 40);
  for (const char* name :
       {"scene1.jpg", "scene2.png", "scene3.jpg", "scene4.png", "scene5.jpg", "scene6.png"}) {
    CAPTURE(name);
    const std::vector<q2l::Tag> tags = tagger.tag(q2l::read_image(examples + name));
    CHECK_FALSE(tags.empty());
    CHECK(std::is_sorted(tags.begin(), tags.end(),
                         [](const q2l::Tag& a, const q2l::Tag& b) { return a.score > b.score; }));
    for (const q2l::Tag& tag : tags) {
      CHECK(tag.score >= 0.5f);
      CHECK(tag.label == tagger.labels()[tag.index]);
    }
  }
}

TEST_CASE("A batch, a host's threads and several callers give the same scores", "[tagger]") {
  const std::vector<q2l::Image> pictures{q2l::read_image(examples + "scene1.jpg"),
                                         q2l::read_image(examples + "scene2.png"),
                                         q2l::read_image(examples + "scene3.jpg")};
  const Tagger tagger = Tagger::load(demo, {.threads = 2});
  const auto scores = tagger.scores(pictures);
  REQUIRE(scores.size() == 3);
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK(tagger.scores(std::span(&pictures[n], 1)).front() == scores[n]);
  }
  ThreadPerWorker host;
  CHECK(Tagger::load(demo, {.threads = 3, .runner = &host}).scores(pictures) == scores);
  CHECK(host.calls > 0);
  host.calls = 0;
  const q2l::TaggerOptions apart{
      .threads = 2, .runner = &host, .schedule = q2l::Schedule::throughput};
  const Tagger side_by_side = Tagger::load(demo, apart);
  const int loading = host.calls.exchange(0);
  CHECK(side_by_side.scores(std::span(pictures).first(2)) ==
        std::vector(scores.begin(), scores.begin() + 2));
  CHECK(host.calls == 1);  // each picture on one thread from its pixels to its scores
  CHECK(side_by_side.scores(pictures) == scores);
  CHECK(host.calls > 2);  // the one left over is shared
  CHECK(loading > 0);

  std::vector<std::vector<std::vector<float>>> answers(4);
  std::vector<std::thread> callers;
  for (auto& answer : answers) {
    callers.emplace_back([&] { answer = tagger.scores(pictures); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& answer : answers) CHECK(answer == scores);
  CHECK(tagger.scores(std::span<const q2l::Image>()).empty());
}

#if defined(__x86_64__)
TEST_CASE("The caller's float environment changes no score and is left as it is",
          "[tagger][hostile][N10]") {
  const std::vector<q2l::Image> picture{q2l::read_image(examples + "scene1.jpg")};
  const Tagger expected = Tagger::load(demo, {.threads = 2});
  const auto scores = expected.scores(picture);
  const auto expected_map =
      expected.attention(picture.front(), std::vector<std::size_t>{0}).front();
  const q2l::Image expected_drawing =
      q2l::draw_heat_map(picture.front(), expected_map.values, expected_map.height,
                         expected_map.width, expected.labels()[0], 0.5f);
  const unsigned int own = _mm_getcsr();
  constexpr unsigned int to_zero = 0x6000, flush = 0x8040, traps_all = 0x1F80, inexact = 0x20;
  // Rounding, subnormals as zero with a flag set, a trap for every exception.
  for (const unsigned int host :
       {own | to_zero, own | flush | inexact, own & ~traps_all & ~0x3Fu}) {
    CAPTURE(host);
    _mm_setcsr(host);
    const Tagger tagger = Tagger::load(demo, {.threads = 2});
    const auto answer = tagger.scores(picture);
    const auto maps = tagger.attention(picture.front(), std::vector<std::size_t>{0});
    const q2l::Image drawn =
        q2l::draw_heat_map(picture.front(), maps.front().values, maps.front().height,
                           maps.front().width, tagger.labels()[0], 0.5f);
    const q2l::Image smaller = q2l::resize_bilinear(picture.front(), 33, 65);
    const unsigned int after = _mm_getcsr();
    _mm_setcsr(own);
    CHECK(answer == scores);
    CHECK(maps.size() == 1);
    CHECK(drawn == expected_drawing);
    CHECK(smaller == q2l::resize_bilinear(picture.front(), 33, 65));
    CHECK(after == host);
  }
}
#endif

TEST_CASE("Raw pixels of a host give what the picture gives", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 1});
  const q2l::Image picture = q2l::read_image(examples + "scene2.png");
  std::vector<std::uint8_t> bgra;
  for (std::size_t i = 0; i < picture.rgb.size(); i += 3) {
    bgra.insert(bgra.end(), {picture.rgb[i + 2], picture.rgb[i + 1], picture.rgb[i], 255});
  }
  const q2l::ImageView view{bgra.data(), picture.width,          picture.height, 4 * picture.width,
                            4,           q2l::ChannelOrder::bgra};
  CHECK(tagger.tag(view) == tagger.tag(picture));
  const std::uint8_t pixel[3]{};
  constexpr int most = std::numeric_limits<int>::max();
  CHECK(error_of([&] {
          static_cast<void>(tagger.tag(q2l::ImageView{pixel, most, most}));
        }).code() == ErrorCode::out_of_memory);
  CHECK(error_of([&] { static_cast<void>(tagger.tag(q2l::Image{})); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("Thresholds, top-k and labels are options", "[tagger]") {
  const q2l::Image picture = q2l::read_image(examples + "scene1.jpg");
  const Tagger all = Tagger::load(demo, {.thresholds = {0.0f}, .threads = 1});
  CHECK(all.tag(picture).size() == all.labels().size());
  const Tagger three = Tagger::load(demo, {.best = 3, .threads = 1});
  CHECK(three.tag(picture).size() == 3);
  CHECK(error_of([] { static_cast<void>(Tagger::load(demo, {.thresholds = {2.0f}})); }).code() ==
        ErrorCode::bad_argument);
  CHECK(error_of([] { static_cast<void>(Tagger::load(demo, {.best = 0})); }).code() ==
        ErrorCode::bad_argument);

  const q2l::test::TemporaryFolder folder;
  const std::string names = (folder.path() / "labels.txt").string();
  std::ofstream(names) << "one\ntwo\n";
  const q2l::Error error =
      error_of([&] { static_cast<void>(Tagger::load(demo, {.labels_path = names})); });
  CHECK(error.code() == ErrorCode::label_count_mismatch);
}

TEST_CASE("Labels that nothing names are those of a data set with as many, and told to be guessed",
          "[tagger]") {
  const q2l::test::TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  const q2l::MappedFile file(demo);
  const q2l::Safetensors content = q2l::parse_safetensors(file.bytes());
  constexpr std::size_t count = 20;
  std::vector<q2l::TensorBytes> tensors;
  for (const q2l::TensorEntry& tensor : content.tensors) {
    q2l::TensorBytes& out = tensors.emplace_back(
        q2l::TensorBytes{tensor.name, tensor.dtype, tensor.shape, tensor.storage});
    const std::size_t axis = tensor.name == "query_embed.weight" ? 0 : 1;
    if (axis == 1 && !tensor.name.starts_with("fc.")) continue;
    out.bytes = out.bytes.first(out.bytes.size() / out.shape[axis] * count);
    out.shape[axis] = count;
  }
  auto metadata = content.metadata;
  for (const char* key : {"labels", "thresholds", "self_test"}) metadata.erase(key);
  nlohmann::json config = nlohmann::json::parse(metadata.at("config"));
  config["num_class"] = count;
  metadata["config"] = config.dump();
  q2l::write_safetensors(path, tensors, metadata);
  const Tagger guessed = Tagger::load(path, {.threads = 1});
  CHECK(guessed.labels_are_guessed());
  CHECK(guessed.labels() == q2l::LabelSet::voc20());
  metadata["labels"] = nlohmann::json(q2l::LabelSet::voc20().names()).dump();
  q2l::write_safetensors(path, tensors, metadata);
  CHECK_FALSE(Tagger::load(path, {.threads = 1}).labels_are_guessed());
  CHECK_FALSE(Tagger::load(demo, {.threads = 1}).labels_are_guessed());
}

TEST_CASE("Scores are ranked by the options' thresholds and number of labels", "[tagger]") {
  const std::size_t count = Tagger::load(demo, {.threads = 1}).labels().size();
  std::vector<float> scores(count, 0.0f), own(count, 0.5f);
  std::copy_n(std::array{0.5f, 0.9f, 0.2f, 0.7f}.begin(), 4, scores.begin());
  std::copy_n(std::array{0.4f, 0.95f, 0.1f, 0.8f}.begin(), 4, own.begin());
  using Labels = std::vector<std::size_t>;
  const auto ranked = [&](const std::vector<float>& thresholds, std::optional<std::size_t> best) {
    const Tagger tagger =
        Tagger::load(demo, {.thresholds = thresholds, .best = best, .threads = 1});
    Labels labels;
    for (const q2l::Tag& tag : tagger.rank(scores)) {
      CHECK(tag.score == scores[tag.index]);
      CHECK(tag.label == tagger.labels()[tag.index]);
      labels.push_back(tag.index);
    }
    for (const std::size_t wrong : {std::size_t{0}, std::size_t{3}, count - 1, count + 1000})
      CHECK(error_of([&] { static_cast<void>(tagger.rank(std::vector<float>(wrong))); }).code() ==
            ErrorCode::bad_argument);
    return labels;
  };
  CHECK(ranked(own, {}) == Labels{0, 2});
  CHECK(ranked({0.5f}, {}) == Labels{1, 3, 0});  // equal reaches it
  CHECK(ranked({}, 3) == Labels{1, 3, 0});       // whatever the model's thresholds
  CHECK(ranked({0.6f}, 3) == Labels{1, 3});
  CHECK(ranked({0.1f}, 1) == Labels{1});
  CHECK(ranked(own, 1).empty());
}

TEST_CASE("More pictures than go through the model together get what each gets alone", "[tagger]") {
  const q2l::Image first = q2l::read_image(examples + "scene1.jpg");
  const q2l::Image second = q2l::read_image(examples + "scene2.png");
  std::vector<q2l::Image> pictures(16 + 3, first);
  pictures.back() = second;
  const Tagger tagger = Tagger::load(demo, {.threads = 2});
  const auto scores = tagger.scores(pictures);
  REQUIRE(scores.size() == pictures.size());
  const auto alone = tagger.scores(std::span(&first, 1)).front();
  for (std::size_t i = 0; i + 1 < scores.size(); ++i) CHECK(scores[i] == alone);
  CHECK(scores.back() == tagger.scores(std::span(&second, 1)).front());
}

TEST_CASE("An explanation has the scores, tags and maps that are got one by one", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 2});
  const q2l::Image picture = q2l::read_image(examples + "scene3.jpg");
  const q2l::Explanation seen = tagger.explain(picture);
  CHECK(seen.scores == tagger.scores(std::span(&picture, 1)).front());
  CHECK(seen.tags == tagger.tag(picture));
  REQUIRE(seen.tags.size() > 1);
  std::vector<std::size_t> labels;
  for (const q2l::Tag& tag : seen.tags) labels.push_back(tag.index);
  const auto maps = tagger.attention(picture, labels);
  REQUIRE(seen.maps.size() == maps.size());
  for (std::size_t i = 0; i < maps.size(); ++i) {
    CHECK(seen.maps[i].label == labels[i]);
    CHECK(seen.maps[i].values == maps[i].values);
  }
  const Tagger none = Tagger::load(demo, {.thresholds = {1.0f}, .threads = 1});
  CHECK(none.explain(picture).maps.empty());
}

TEST_CASE("Attention maps are the last decoder layer's, and show as Eigen matrices", "[tagger]") {
  const Tagger tagger = Tagger::load(demo, {.threads = 1});
  const q2l::Image picture = q2l::read_image(examples + "scene4.png");
  const std::vector<std::size_t> labels{3, 0};
  const auto maps = tagger.attention(picture, labels);
  REQUIRE(maps.size() == 2);
  q2l::SerialRunner runner;
  q2l::Session session(tagger.model(), runner, 1);
  const std::size_t side = tagger.config().image_size;
  std::vector<float> pixels(side * side * 3);
  q2l::preprocess_into(picture, side, tagger.config().normalization, pixels);
  const auto all = session.query(session.encode({pixels.data(), 1, side, side, 3}), {{}, true});
  CHECK(maps[0].values != maps[1].values);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const q2l::AttentionMap& map = maps[i];
    CHECK(map.label == labels[i]);
    CHECK(map.values == all.mean_map(0, all.layers - 1, labels[i]));
    const auto view =
        q2l::eigen_view(q2l::Matrix<const float>{map.values.data(), map.height, map.width});
    CHECK(view.sum() == Approx(1).margin(1e-5));
    CHECK(view.minCoeff() >= 0);
    CHECK(q2l::eigen_map(all, 0, all.layers - 1, 0, labels[i])(0, 1) ==
          all.map(0, all.layers - 1, 0, labels[i])[1]);
    CHECK(q2l::eigen_logits(all)(0, static_cast<Eigen::Index>(labels[i])) == all.logits[labels[i]]);
  }
  CHECK(tagger.attention(picture, {}).empty());
  const std::vector<std::size_t> unknown{tagger.labels().size()};
  CHECK(error_of([&] { static_cast<void>(tagger.attention(picture, unknown)); }).code() ==
        ErrorCode::bad_argument);
}

TEST_CASE("What a model file says of itself is checked, and errors name the file and the key",
          "[tagger][hostile][J14]") {
  const q2l::test::TemporaryFolder folder;
  const std::string copy = folder / "model.safetensors";
  const q2l::MappedFile file(demo);
  const q2l::Safetensors content = q2l::parse_safetensors(file.bytes());
  std::vector<q2l::TensorBytes> tensors;
  for (const q2l::TensorEntry& t : content.tensors)
    tensors.push_back({t.name, t.dtype, t.shape, t.storage});
  const auto error_with = [&](const std::string& key, const nlohmann::json& value) {
    std::map<std::string, std::string> metadata = content.metadata;
    metadata[key] = value.dump();
    q2l::write_safetensors(copy, tensors, metadata);
    const q2l::Error error =
        error_of([&] { static_cast<void>(Tagger::load(copy, {.threads = 1, .self_test = true})); });
    CHECK(error.place().path == copy);
    return error;
  };
  const auto parsed = [&](const char* key) {
    return nlohmann::json::parse(content.metadata.at(key));
  };

  nlohmann::json labels = parsed("labels");
  labels[3] = "";
  CHECK(error_with("labels", labels).code() == ErrorCode::bad_labels);
  labels[3] = labels[2];
  CHECK(error_with("labels", labels).place().subject == "label 3");

  for (const nlohmann::json& thresholds :
       {nlohmann::json{0.5, 0.5}, nlohmann::json{1.5}, nlohmann::json{-0.5}}) {
    const q2l::Error error = error_with("thresholds", thresholds);
    CHECK(error.code() == ErrorCode::bad_config);
    CHECK(error.place().subject == "thresholds");
  }

  const std::size_t side = Tagger::load(demo, {.threads = 1}).config().image_size;
  for (const auto& [height, width] :
       {std::pair{std::size_t{2048}, side}, {side, 2048}, {side - 1, side}, {side, 0}}) {
    CAPTURE(height, width);
    nlohmann::json self_test = parsed("self_test");
    self_test["shape"] = {1, 3, height, width};
    const q2l::Error error = error_with("self_test", self_test);
    CHECK(error.code() == ErrorCode::bad_config);
    CHECK(error.place().subject == "self_test");
  }
}

TEST_CASE("Pixels and thresholds are as the model file says, unless options say otherwise",
          "[tagger]") {
  const q2l::test::TemporaryFolder folder;
  const std::string copy = folder / "model.safetensors";
  const q2l::MappedFile file(demo);
  q2l::Safetensors content = q2l::parse_safetensors(file.bytes());
  std::vector<q2l::TensorBytes> tensors;
  for (const q2l::TensorEntry& t : content.tensors)
    tensors.push_back({t.name, t.dtype, t.shape, t.storage});
  std::vector<float> thresholds(nlohmann::json::parse(content.metadata.at("labels")).size(), 1.0f);
  thresholds[2] = 0.0f;
  content.metadata["mean"] = "[0.25, 0.5, 0.75]";
  content.metadata["std"] = "[1, 2, 4]";
  content.metadata["thresholds"] = nlohmann::json(thresholds).dump();
  q2l::write_safetensors(copy, tensors, content.metadata);

  const Tagger tagger = Tagger::load(copy, {.threads = 1});
  CHECK(tagger.config().normalization ==
        q2l::PixelNormalization{{0.25f, 0.5f, 0.75f}, {1.0f, 2.0f, 4.0f}});
  CHECK(tagger.thresholds() == thresholds);
  const q2l::Image picture = q2l::read_image(examples + "scene1.jpg");
  const std::vector<q2l::Tag> tags = tagger.tag(picture);
  REQUIRE(tags.size() == 1);
  CHECK(tags.front().index == 2);
  CHECK(tags.front().label == tagger.labels()[2]);
  const Tagger other = Tagger::load(copy, {.thresholds = {0.0f}, .threads = 1});
  CHECK(other.tag(picture).size() == other.labels().size());
}

TEST_CASE("A model that fails to load names the file", "[tagger]") {
  const q2l::test::TemporaryFolder folder;
  const std::string copy = (folder.path() / "model.safetensors").string();
  std::ifstream in(demo, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  SECTION("cut short") {
    std::ofstream(copy, std::ios::binary) << bytes.substr(0, bytes.size() - 1);
  }
  SECTION("with a weight that is not a number") {
    bytes[bytes.size() - 1] = '\x7e';  // f16: exponent all ones, mantissa not zero
    std::ofstream(copy, std::ios::binary) << bytes;
    CHECK(error_of([&] { static_cast<void>(Tagger::load(copy)); }).code() == ErrorCode::non_finite);
  }
  SECTION("with a self-test of another model") {
    const std::size_t at = bytes.find("\\\"logits\\\": [");
    REQUIRE(at != std::string::npos);
    const std::size_t digit = bytes.find('.', at) - 1;
    bytes[digit] = bytes[digit] == '9' ? '8' : static_cast<char>(bytes[digit] + 1);
    std::ofstream(copy, std::ios::binary) << bytes;
    const Tagger untested = Tagger::load(copy);
    CHECK(untested.labels().size() >= 40);
    CHECK(error_of([&] { static_cast<void>(Tagger::load(copy, {.self_test = true})); }).code() ==
          ErrorCode::self_test_failed);
    return;
  }
  SECTION("absent") {}
  CHECK(error_of([&] { static_cast<void>(Tagger::load(copy)); }).place().path == copy);
}
