// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "q2l/coco_annotations.hpp"
#include "q2l/voc_annotations.hpp"
#include "support/error_of.hpp"
#include "support/temporary_folder.hpp"

using namespace q2l::command;
using q2l::ErrorCode;
using q2l::unjudged;
using q2l::test::error_of;
using q2l::test::TemporaryFolder;

namespace {

using Truth = std::vector<std::uint8_t>;
const q2l::LabelSet pet_labels({"cat", "dog", "tv monitor"});

const std::string coco_images =
    R"("images":[{"license":3,"file_name":"b.jpg","id":9},{"id":4,"file_name":"sub/a.jpg"}])";
const std::string coco_categories =
    R"("categories":[{"id":18,"name":"dog","supercategory":"animal"},{"id":90,"name":"tv monitor"},)"
    R"({"id":17,"name":"cat"}])";

/// A COCO file of these members between others that are passed over.
std::string coco_file(const std::string& images, const std::string& categories,
                      const std::string& annotations) {
  return R"({"info":{"id":[1,{"id":2}]},"licenses":[{"id":7,"name":"free"}],)" + annotations + "," +
         images + "," + categories + "}";
}

std::string coco_annotations(const std::string& elements) {
  return "\"annotations\":[" + elements + "]";
}

const std::string coco_seen = coco_annotations(
    R"({"segmentation":[[1.5,2],[3]],"image_id":9,"category_id":18,"id":1},)"
    R"({"segmentation":{"counts":[1],"size":[2,3]},"iscrowd":1,"image_id":9,"category_id":17},)"
    R"({"image_id":9,"category_id":18,"id":2})");

q2l::Error coco_error(const std::string& text) {
  const TemporaryFolder folder;
  const auto file = folder.write("instances_x.json", text);
  const q2l::Error error =
      error_of([&] { static_cast<void>(read_coco_annotations(file, "p", pet_labels)); });
  CHECK(error.place().path == file.string());
  return error;
}

/// A VOC folder of two pictures.
class VocFolder {
 public:
  VocFolder() {
    write("test.txt", "000012\n000007\r\n");
    write("cat_test.txt", "000007  1\n000012 -1\n");
    write("dog_test.txt", "000012  1\r\n000007  0");
    write("tv monitor_test.txt", "000012 -1\n000007 -1\n\n");
  }
  void write(const std::string& list, const std::string& text) const {
    folder_.write("ImageSets/Main/" + list, text);
  }
  [[nodiscard]] std::vector<AnnotatedPicture> read(const q2l::LabelSet& labels = pet_labels,
                                                   const std::string& split = "test") const {
    return read_voc_annotations(folder_.path(), split, labels);
  }
  [[nodiscard]] const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("COCO's annotations say which labels an image has, whatever their order", "[command]") {
  const TemporaryFolder folder;
  const auto file =
      folder.write("instances_x.json", coco_file(coco_images, coco_categories, coco_seen));
  const auto pictures = read_coco_annotations(file, "pictures", pet_labels);
  REQUIRE(pictures.size() == 2);
  CHECK(pictures[0].path == "pictures/b.jpg");
  CHECK(pictures[0].truth == Truth{1, 1, 0});
  CHECK(pictures[1].path == "pictures/sub/a.jpg");
  CHECK(pictures[1].truth == Truth{0, 0, 0});  // without annotations
}

TEST_CASE("COCO files that do not fit are refused by name", "[command]") {
  const std::string none = coco_annotations("");
  CHECK(coco_error("{").code() == ErrorCode::bad_json);
  CHECK(coco_error("[1,").place().offset == 4u);
  CHECK(coco_error("[]").code() == ErrorCode::bad_labels);
  CHECK(coco_error("{\"images\":" + std::string(100, '[')).code() == ErrorCode::limit_exceeded);
  CHECK(coco_error(coco_file(R"("images":[{"id":1}])", coco_categories, none)).code() ==
        ErrorCode::bad_json);
  CHECK(coco_error(coco_file(R"("images":[{"id":1e30,"file_name":"a"}])", coco_categories, none))
            .place()
            .subject == "id");
  CHECK(coco_error(coco_file(R"("images":[{"id":"1","file_name":"a"}])", coco_categories, none))
            .code() == ErrorCode::bad_json);
  CHECK(coco_error(coco_file(R"("images":[{"id":1,"file_name":"a"},{"id":1,"file_name":"b"}])",
                             coco_categories, none))
            .place()
            .subject == "image 1");
  CHECK(coco_error(coco_file(R"("images":[{"id":1,"file_name":"../a"}])", coco_categories, none))
            .code() == ErrorCode::path_escape);
  CHECK(coco_error(coco_file(R"("images":[{"id":1,"file_name":"/etc/a"}])", coco_categories, none))
            .code() == ErrorCode::path_escape);
  const q2l::Error missing = coco_error(coco_file(
      coco_images, coco_categories, coco_annotations(R"({"image_id":5,"category_id":17})")));
  CHECK(missing.code() == ErrorCode::missing_entry);
  CHECK(missing.place().subject == "image 5, category 17");
  CHECK(coco_error(coco_file(coco_images, coco_categories,
                             coco_annotations(R"({"image_id":9,"category_id":1})")))
            .code() == ErrorCode::missing_entry);
  CHECK(coco_error(coco_file(coco_images, R"("categories":[{"id":1,"name":"cow"}])", none))
            .place()
            .subject == "cow");
  CHECK(coco_error(coco_file(coco_images, R"("categories":[{"id":1,"name":"cat"}])", none))
            .place()
            .expected == "3 categories");
  for (
      const char* categories :
      {R"("categories":[{"id":1,"name":"cat"},{"id":2,"name":"dog"},{"id":3,"name":"cat"}])",
       R"("categories":[{"id":1,"name":"cat"},{"id":2,"name":"dog"},{"id":1,"name":"tv monitor"}])"}) {
    CHECK(coco_error(coco_file(coco_images, categories, none)).code() == ErrorCode::duplicate_name);
  }
}

TEST_CASE("VOC's lists say which labels a picture has and which are not judged", "[command]") {
  const VocFolder voc;
  const auto pictures = voc.read();
  REQUIRE(pictures.size() == 2);
  CHECK(pictures[0].path == (voc.folder() / "JPEGImages/000012.jpg").string());
  CHECK(pictures[0].truth == Truth{0, 1, 0});
  CHECK(pictures[1].truth == Truth{1, unjudged, 0});

  const VocFolder marked;
  marked.write("test.txt",
               "\xEF\xBB\xBF"
               "000012\n000007\n");
  CHECK(marked.read()[0].path == (marked.folder() / "JPEGImages/000012.jpg").string());
}

TEST_CASE("VOC lists that do not fit are refused by file and line", "[command]") {
  const auto refused = [](const std::string& list, const std::string& text) {
    const VocFolder voc;
    voc.write(list, text);
    const q2l::Error error = error_of([&] { static_cast<void>(voc.read()); });
    CHECK(error.place().path == (voc.folder() / "ImageSets/Main" / list).string());
    return error;
  };
  CHECK(refused("test.txt", "000012\n\n000012\n").place().subject == "line 3");
  CHECK(refused("dog_test.txt", "000012 1\n000013 1\n").code() == ErrorCode::missing_entry);
  CHECK(refused("dog_test.txt", "000012 1\n").place().actual == "1");
  CHECK(refused("dog_test.txt", "000012 1\n000012 -1\n").code() == ErrorCode::duplicate_name);
  CHECK(refused("dog_test.txt", "000012 1\n000007 2\n").code() == ErrorCode::bad_labels);
  CHECK(refused("dog_test.txt", "000012\n000007 1\n").place().subject == "line 1");
  CHECK(refused("dog_test.txt", "000012 1 1\n000007 1\n").code() == ErrorCode::bad_labels);

  const VocFolder escaping;
  escaping.write("test.txt", "../000012\n");
  CHECK(error_of([&] { static_cast<void>(escaping.read()); }).code() == ErrorCode::path_escape);
  CHECK(error_of([] { static_cast<void>(VocFolder().read(q2l::LabelSet({"cow"}))); }).code() ==
        ErrorCode::io);
  CHECK(error_of([] { static_cast<void>(VocFolder().read(q2l::LabelSet({"../cat"}))); }).code() ==
        ErrorCode::path_escape);
  CHECK(error_of([] { static_cast<void>(VocFolder().read(pet_labels, "../test")); }).code() ==
        ErrorCode::path_escape);
}
