// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/image/image_bytes.hpp"

namespace q2l::detail {

/// What a JPEG file says about itself, from a walk over its markers that decodes no pixel.
struct JpegStructure {
  int width = 0;
  int height = 0;
  bool progressive = false;
  /// Set only where cut files are allowed: the file is good for its first `usable_bytes`.
  bool truncated = false;
  std::size_t usable_bytes = 0;
  std::span<const std::byte> exif;  ///< the TIFF block of the first EXIF segment, or empty
  std::uint64_t decoder_bytes = 0;  ///< what the planes, coefficients and the RGB result need
};

/// Walks a JPEG from SOI to EOI (ITU-T T.81, annex B), entropy-coded data included.
class JpegWalk {
 public:
  JpegWalk(std::span<const std::byte> bytes, const Limits& limits)
      : file_(bytes), limits_(limits) {}

  /// Returns after EOI; what follows it is not looked at. Throws at the first fault.
  void run() {
    position_ = 2;
    while (true) {
      complete_ = position_;
      const std::uint32_t marker = next_marker();
      if (marker == 0xD9) break;
      if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;
      segment(marker);
    }
    require_every_component();
    structure.usable_bytes = position_;
  }

  [[nodiscard]] bool has_scan() const noexcept { return scans_ != 0; }
  [[nodiscard]] std::size_t complete() const noexcept { return complete_; }

  JpegStructure structure;

 private:
  struct Component {
    std::uint32_t id, horizontal, vertical, quantization;
    bool dc_seen = false;
  };

  [[noreturn]] void fail(ErrorCode code, std::string_view detail, std::string actual = {}) const {
    throw Error(code, detail, {.offset = segment_, .actual = std::move(actual)});
  }

  /// Moves behind the next marker and returns its second byte. Stray bytes before it are skipped.
  std::uint32_t next_marker() {
    while (true) {
      while (file_.u8(position_) != 0xFF) ++position_;
      while (file_.u8(position_) == 0xFF) ++position_;
      const std::uint32_t marker = file_.u8(position_++);
      segment_ = position_ - 2;
      if (marker != 0) return marker;
    }
  }

  void segment(std::uint32_t marker) {
    if (marker == 0xD8) fail(ErrorCode::bad_image, "a second start of image");
    const std::size_t length = file_.be16(position_);
    if (length < 2) fail(ErrorCode::bad_image, "a segment is shorter than its own length field");
    const ImageBytes body(file_.slice(position_ + 2, length - 2));
    position_ += length;
    switch (marker) {
      case 0xC0:
      case 0xC1:
      case 0xC2:
        return frame(marker, body);
      case 0xC4:
        return huffman_tables(body);
      case 0xC3:
      case 0xC7:
      case 0xCB:
      case 0xCF:
        fail(ErrorCode::image_unsupported, "lossless JPEG");
      case 0xC5:
      case 0xC6:
      case 0xCD:
      case 0xCE:
      case 0xDE:
      case 0xDF:
        fail(ErrorCode::image_unsupported, "hierarchical JPEG");
      case 0xC9:
      case 0xCA:
      case 0xCC:
        fail(ErrorCode::image_unsupported, "arithmetic-coded JPEG");
      case 0xC8:
        fail(ErrorCode::image_unsupported, "a reserved JPEG extension");
      case 0xDA:
        return scan(body);
      case 0xDB:
        return quantization_tables(body);
      case 0xDC:
        if (body.size() != 2 || body.be16(0) != static_cast<std::uint32_t>(structure.height))
          fail(ErrorCode::image_unsupported, "a DNL marker that changes the height");
        return;
      case 0xDD:
        if (body.size() != 2) fail(ErrorCode::bad_image, "a restart interval of the wrong size");
        restart_interval_ = body.be16(0);
        return;
      case 0xE0:
        if (body.has(0, std::string_view("JFIF\0", 5))) jfif_ = true;
        return;
      case 0xE1:
        if (structure.exif.empty() && body.has(0, std::string_view("Exif\0\0", 6)))
          structure.exif = body.slice(6, body.size() - 6);
        return;
      case 0xEE:
        if (body.size() >= 12 && body.has(0, std::string_view("Adobe\0", 6)))
          adobe_transform_ = body.u8(11);
        return;
      default:
        if (marker >= 0xE0 || marker == 0xFE) return;
        fail(ErrorCode::bad_image, "an unknown marker", "0x" + hex(marker));
    }
  }

  static std::string hex(std::uint32_t byte) {
    constexpr std::string_view digits = "0123456789abcdef";
    return {digits[byte >> 4], digits[byte & 15u]};
  }

  void frame(std::uint32_t marker, const ImageBytes& body) {
    if (!components_.empty()) fail(ErrorCode::bad_image, "a second frame header");
    if (body.size() < 6) fail(ErrorCode::bad_image, "a frame header of the wrong size");
    if (body.u8(0) != 8)
      fail(ErrorCode::image_unsupported, "samples that are not 8 bit",
           std::to_string(body.u8(0)) + " bit");
    const std::uint32_t height = body.be16(1), width = body.be16(3), count = body.u8(5);
    if (height == 0 && width != 0)
      fail(ErrorCode::bad_image, "a side is zero; the height is not stored in the header");
    check_dimensions(width, height, limits_, segment_);
    if (count != 1 && count != 3 && count != 4)
      fail(ErrorCode::image_unsupported, "not grey, colour or CMYK",
           std::to_string(count) + " components");
    if (body.size() != 6 + 3 * count)
      fail(ErrorCode::bad_image, "a frame header of the wrong size");
    structure.width = static_cast<int>(width);
    structure.height = static_cast<int>(height);
    structure.progressive = marker == 0xC2;

    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t sampling = body.u8(7 + 3 * i);
      const Component component{body.u8(6 + 3 * i), sampling >> 4, sampling & 15u,
                                body.u8(8 + 3 * i)};
      if (component.horizontal < 1 || component.horizontal > 4 || component.vertical < 1 ||
          component.vertical > 4 || component.quantization > 3)
        fail(ErrorCode::bad_image, "a component with impossible sampling or table number");
      if (find(component.id) != nullptr) fail(ErrorCode::bad_image, "two components with one name");
      components_.push_back(component);
      widest_ = std::max(widest_, component.horizontal);
      tallest_ = std::max(tallest_, component.vertical);
    }
    for (const Component& component : components_)
      if (widest_ % component.horizontal != 0 || tallest_ % component.vertical != 0)
        fail(ErrorCode::image_unsupported, "sampling factors that do not divide each other");
    estimate_memory();
  }

  void estimate_memory() {
    const std::uint64_t bytes_per_sample =
        structure.progressive ? 3 : 1;  // 16-bit coefficients too
    std::uint64_t samples = 0;
    for (const Component& component : components_)
      samples += units(structure.width, 8 * widest_) * component.horizontal * 8 *
                 units(structure.height, 8 * tallest_) * component.vertical * 8;
    const auto width = static_cast<std::uint64_t>(structure.width);
    const auto height = static_cast<std::uint64_t>(structure.height);
    structure.decoder_bytes = samples * bytes_per_sample + width * height * 3 + width * 4;
  }

  static std::uint64_t units(int length, std::uint64_t unit) {
    return (static_cast<std::uint64_t>(length) + unit - 1) / unit;
  }

  void quantization_tables(const ImageBytes& body) {
    if (structure.progressive && scans_ != 0)
      fail(ErrorCode::image_unsupported, "quantisation that changes between progressive scans");
    for (std::size_t at = 0; at < body.size();) {
      const std::uint32_t head = body.u8(at);
      const std::size_t length = 1 + ((head >> 4) != 0 ? 128u : 64u);
      if ((head >> 4) > 1 || (head & 15u) > 3 || length > body.size() - at)
        fail(ErrorCode::bad_image, "a damaged quantisation table");
      quantization_defined_[head & 15u] = true;
      at += length;
    }
  }

  void huffman_tables(const ImageBytes& body) {
    for (std::size_t at = 0; at < body.size();) {
      const std::uint32_t head = body.u8(at), kind = head >> 4, number = head & 15u;
      if (kind > 1 || number > 3 || body.size() - at < 17)
        fail(ErrorCode::bad_image, "a damaged Huffman table");
      std::uint32_t count = 0, codes_left = 1;
      for (std::size_t bits = 1; bits <= 16; ++bits) {
        const std::uint32_t of_length = body.u8(at + bits);
        codes_left *= 2;
        if (of_length > codes_left)
          fail(ErrorCode::bad_image, "a Huffman table with too many codes");
        codes_left -= of_length;
        count += of_length;
      }
      at += 17;
      if (count > 256 || count > body.size() - at)
        fail(ErrorCode::bad_image, "a Huffman table with too many symbols");
      for (std::size_t i = 0; i < count; ++i)
        if (kind == 0 && body.u8(at + i) > 15)  // a DC symbol is a number of bits
          fail(ErrorCode::bad_image, "a DC Huffman table with an impossible symbol");
      at += count;
      huffman_defined_[kind][number] = true;
    }
  }

  Component* find(std::uint32_t id) {
    for (Component& component : components_)
      if (component.id == id) return &component;
    return nullptr;
  }

  void scan(const ImageBytes& body) {
    if (components_.empty()) fail(ErrorCode::bad_image, "a scan before the frame header");
    if (scans_ == 0) check_color_space();
    if (++scans_ > limits_.jpeg_scans)
      fail(ErrorCode::limit_exceeded, "the picture has too many scans",
           "more than " + std::to_string(limits_.jpeg_scans));
    const std::size_t count = body.size() == 0 ? 0 : body.u8(0);
    if (count < 1 || count > components_.size() || body.size() != 4 + 2 * count)
      fail(ErrorCode::bad_image, "a scan header of the wrong size");
    const std::uint32_t first = body.u8(1 + 2 * count), last = body.u8(2 + 2 * count);
    const std::uint32_t high = body.u8(3 + 2 * count) >> 4, low = body.u8(3 + 2 * count) & 15u;
    const bool good_band = structure.progressive
                               ? first <= last && last <= 63 && high <= 13 && low <= 13 &&
                                     (first == 0 ? last == 0 : count == 1)
                               : first == 0 && high == 0 && low == 0;
    if (!good_band) fail(ErrorCode::bad_image, "a scan with impossible parameters");

    std::array<const Component*, 4> chosen{};
    for (std::size_t i = 0; i < count; ++i) {
      Component* component = find(body.u8(1 + 2 * i));
      if (component == nullptr) fail(ErrorCode::bad_image, "a scan of an unknown component");
      for (std::size_t k = 0; k < i; ++k)
        if (chosen[k] == component) fail(ErrorCode::bad_image, "a scan with a component twice");
      chosen[i] = component;
      const std::uint32_t tables = body.u8(2 + 2 * i);
      const bool needs_dc = first == 0 && high == 0, needs_ac = !structure.progressive || first > 0;
      require_huffman(0, tables >> 4, needs_dc);
      require_huffman(1, tables & 15u, needs_ac);
      if (!quantization_defined_[component->quantization])
        fail(ErrorCode::bad_image, "no quantisation table for a component");
      if (!needs_dc && structure.progressive && !component->dc_seen)
        fail(ErrorCode::bad_image, "a refining scan before the first one");
      component->dc_seen = true;
    }
    const std::uint64_t units = coded_units(chosen, count);
    const std::uint64_t blocks = units * blocks_of_a_unit(chosen, count);
    scan_samples_ += 64 * blocks;
    if (scan_samples_ > limits_.jpeg_scan_samples)
      fail(ErrorCode::limit_exceeded, "the picture has too many scans for its size",
           "more than " + std::to_string(limits_.jpeg_scan_samples) + " samples");
    // A code has a bit at least: a block its DC coefficient's, and where the others stand in the
    // same scan the end of the block. Other scans can pass over many blocks with one code.
    const std::uint64_t bits_of_a_block = !structure.progressive ? 2 : first == 0 ? 1 : 0;
    entropy_coded_data(restart_interval_ == 0 ? 0 : (units - 1) / restart_interval_,
                       blocks * bits_of_a_block / 8);
  }

  void require_huffman(std::size_t kind, std::uint32_t number, bool needed) const {
    if (number > 3 || (needed && !huffman_defined_[kind][number]))
      fail(ErrorCode::bad_image,
           "no Huffman table for a component (a frame of a Motion-JPEG film?)");
  }

  /// Refuses what decoders are known to read as different colours.
  void check_color_space() const {
    if (components_.size() == 4 && adobe_transform_ != 0u && adobe_transform_ != 2u)
      fail(ErrorCode::image_unsupported,
           "four components without an Adobe marker that says CMYK or YCCK");
    const bool named_rgb = components_.size() == 3 && components_[0].id == 'R' &&
                           components_[1].id == 'G' && components_[2].id == 'B';
    if (named_rgb && (jfif_ || adobe_transform_.value_or(0) != 0))
      fail(ErrorCode::image_unsupported, "components named RGB in a file that says YCbCr");
  }

  /// How many units the scan codes, one behind the other.
  [[nodiscard]] std::uint64_t coded_units(const std::array<const Component*, 4>& chosen,
                                          std::size_t count) const {
    if (count > 1)
      return units(structure.width, 8 * widest_) * units(structure.height, 8 * tallest_);
    // Not interleaved: a unit is one block of the component itself.
    const auto width = static_cast<std::uint64_t>(structure.width) * chosen[0]->horizontal;
    const auto height = static_cast<std::uint64_t>(structure.height) * chosen[0]->vertical;
    return (((width + widest_ - 1) / widest_ + 7) / 8) *
           (((height + tallest_ - 1) / tallest_ + 7) / 8);
  }

  static std::uint64_t blocks_of_a_unit(const std::array<const Component*, 4>& chosen,
                                        std::size_t count) {
    if (count == 1) return 1;
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < count; ++i) blocks += chosen[i]->horizontal * chosen[i]->vertical;
    return blocks;
  }

  void entropy_coded_data(std::uint64_t expected_restarts, std::uint64_t least_bytes) {
    const std::size_t begin = position_;
    std::uint64_t restarts = 0;
    complete_ = file_.size();
    const auto data = file_.slice(0, file_.size());
    while (true) {
      const void* found = position_ < data.size()
                              ? std::memchr(data.data() + position_, 0xFF, data.size() - position_)
                              : nullptr;
      if (found == nullptr)
        position_ = data.size();
      else
        position_ =
            static_cast<std::size_t>(static_cast<const std::byte*>(found) - data.data()) + 1;
      const std::uint32_t next = file_.u8(position_);  // throws where the file ends
      if (next >= 0xD0 && next <= 0xD7)
        ++restarts;
      else if (next != 0x00 && next != 0xFF)
        break;
    }
    --position_;
    complete_ = position_;  // what follows is not checked if this scan fails
    if (restarts < expected_restarts)
      fail(ErrorCode::image_truncated, "the scan lacks restart markers, data is missing");
    // Stuffed zeros and restart markers count as data: never too strict.
    if (position_ - begin < least_bytes)
      fail(ErrorCode::image_truncated, "the scan is too short for its blocks, data is missing",
           std::to_string(position_ - begin) + " of at least " + std::to_string(least_bytes) +
               " bytes");
  }

  void require_every_component() const {
    if (components_.empty()) fail(ErrorCode::bad_image, "the picture ends without a frame header");
    for (const Component& component : components_)
      if (!component.dc_seen)
        fail(ErrorCode::image_truncated, "the picture ends before all its scans");
  }

  ImageBytes file_;
  const Limits& limits_;
  std::size_t position_ = 0;  ///< the next byte to read
  std::size_t segment_ = 0;   ///< where the current marker stands
  std::size_t complete_ = 0;  ///< what comes before is whole
  std::uint64_t scans_ = 0;
  std::uint64_t scan_samples_ = 0;  ///< that the scans so far pass over
  std::vector<Component> components_;
  std::uint32_t widest_ = 1, tallest_ = 1;
  std::uint32_t restart_interval_ = 0;
  std::array<bool, 4> quantization_defined_{};
  std::array<std::array<bool, 4>, 2> huffman_defined_{};  ///< [0 DC, 1 AC][number]
  bool jfif_ = false;
  std::optional<std::uint32_t> adobe_transform_;
};

/// Checks everything about a JPEG that can be known without decoding. Throws image_truncated,
/// bad_image, image_unsupported, image_too_large or limit_exceeded with the offset of the segment.
/// With `allow_truncated`, a file that is cut behind the start of its first scan passes.
inline JpegStructure inspect_jpeg(std::span<const std::byte> bytes, const Limits& limits,
                                  bool allow_truncated = false) {
  JpegWalk walk(bytes, limits);
  try {
    walk.run();
  } catch (const Error& error) {
    if (!allow_truncated || error.code() != ErrorCode::image_truncated || !walk.has_scan()) throw;
    walk.structure.truncated = true;
    walk.structure.usable_bytes = walk.complete();
  }
  return walk.structure;
}

}  // namespace q2l::detail
