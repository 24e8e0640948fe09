// SPDX-License-Identifier: MIT
#include <algorithm>
#include <string_view>
#include <vector>

#include "fuzz/check.hpp"
#include "query2label/core/crc32.hpp"
#include "query2label/image/decode.hpp"
#include "query2label/image/resize.hpp"

namespace {

using Picture = std::span<const std::byte>;

/// Small, so that one picture takes little time and memory.
const q2l::Limits picture_limits{.image_pixels = 1u << 18, .jpeg_scans = 20};

/// Decodes, turns and resizes. Returns whether the picture was accepted.
bool decode(Picture file, bool allow_truncated) {
  using namespace q2l::fuzz;
  return accepts(file.size(), "", [&] {
    q2l::DecodeOptions options{.apply_orientation = false, .allow_truncated = allow_truncated};
    const q2l::Image stored = q2l::decode_image(file, options, picture_limits);
    const auto width = static_cast<std::size_t>(stored.width);
    const auto height = static_cast<std::size_t>(stored.height);
    check(width * height <= picture_limits.image_pixels && width * height * 3 == stored.rgb.size(),
          "a picture has as many pixels as its sides say");
    options.apply_orientation = true;
    const q2l::Image upright = q2l::decode_image(file, options, picture_limits);
    check(std::minmax(stored.width, stored.height) == std::minmax(upright.width, upright.height) &&
              stored.rgb.size() == upright.rgb.size(),
          "a turned picture keeps its pixels");
    check(q2l::resize_bilinear(upright, 7, 5).rgb.size() == 7 * 5 * 3,
          "a resized picture has the size asked for");
  });
}

/// The picture with checksums that fit its chunks, if it is a PNG; else nothing.
std::vector<std::byte> checked_png(Picture file) {
  constexpr std::string_view signature = "\x89PNG\r\n\x1a\n";
  constexpr std::size_t around_data = 12;  // length, name, checksum
  if (!q2l::detail::ImageBytes(file).has(0, signature)) return {};
  std::vector<std::byte> out(file.begin(), file.end());
  for (std::size_t at = signature.size(); out.size() - at >= around_data;) {
    const std::size_t length = q2l::detail::ImageBytes(out).be32(at);
    if (length > out.size() - at - around_data) break;
    const std::size_t end = at + 8 + length;
    const std::uint32_t crc = q2l::crc32(Picture(out).subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) out[end + i] = static_cast<std::byte>(crc >> (24 - 8 * i));
    at = end + 4;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = q2l::fuzz::bytes_of(data, size);
  if (!decode(file, false)) decode(file, true);
  // What lies behind a checksum is reached only with one that fits.
  if (const auto png = checked_png(file); !std::ranges::equal(png, file)) decode(png, false);
  return 0;
}
