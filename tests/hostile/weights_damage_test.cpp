// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query2label/weights/safetensors.hpp"
#include "query2label/weights/torch_checkpoint.hpp"
#include "support/byte_strings.hpp"
#include "support/error_of.hpp"
#include "support/weight_fixtures.hpp"

// Every damaged version of a small file either gives a typed error or tensors whose bytes lie
// inside the file. What tensors read as decides whether damage went unnoticed.

namespace {

using q2l::TensorEntry;
using q2l::test::bytes;
using q2l::test::weight_fixture;
using Values = std::map<std::string, std::vector<double>>;

std::string small_safetensors() {
  const std::string header =
      "{\"__metadata__\":{\"k\":\"v\"},\"b\":{\"dtype\":\"F16\",\"shape\":[2,1],"
      "\"data_offsets\":[4,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}} ";
  return q2l::test::little_endian(std::uint64_t{header.size()}) + header +
         q2l::test::little_endian(0x3F800000u) + q2l::test::little_endian(0x3C004000u);
}

std::vector<TensorEntry> parse(std::string_view file) {
  if (file.substr(0, 2) == "PK") return q2l::read_torch_zip(bytes(file)).tensors;
  if (file.substr(0, 1) == "\x80") return q2l::read_torch_legacy(bytes(file)).tensors;
  return q2l::parse_safetensors(bytes(file)).tensors;
}

/// All values, or nothing where the file is refused with a typed error.
struct Outcome {
  bool refused = false;
  Values values;
};

Outcome outcome_of(const std::string& file) {
  Outcome out;
  try {
    for (const TensorEntry& tensor : parse(file)) {
      const auto all = bytes(file);
      const bool inside =
          tensor.storage.empty() ||
          (tensor.storage.data() >= all.data() &&
           tensor.storage.data() + tensor.storage.size() <= all.data() + all.size());
      if (!inside) throw std::logic_error("a tensor outside its file");
      out.values.emplace(tensor.name, tensor.read<double>());
    }
  } catch (const q2l::Error& error) {
    out.refused = true;
    if (error.detail().empty()) throw std::logic_error("an error without words");
    if (error.place().offset.value_or(0) > file.size())
      throw std::logic_error("an error about a byte beyond the file");
  }
  return out;
}

std::vector<std::string> samples() {
  std::vector<std::string> out{small_safetensors()};
  for (const std::string_view name :
       {"training_legacy.pth", "layouts.pth", "layouts_legacy.pth", "protocol4.pth"})
    out.push_back(weight_fixture(name));
  return out;
}

}  // namespace

TEST_CASE("A weight file cut at any byte is refused", "[hostile][weights][Z2][P22]") {
  for (const std::string& file : samples()) {
    CHECK_FALSE(outcome_of(file).refused);
    std::size_t accepted = 0;
    for (std::size_t size = 0; size < file.size(); ++size)
      accepted += outcome_of(file.substr(0, size)).refused ? 0u : 1u;
    CHECK(accepted == 0);
  }
}

TEST_CASE("A flipped bit is refused or read inside the file; a ZIP never changes its values",
          "[hostile][weights]") {
  for (std::string file : samples()) {
    const Values good = outcome_of(file).values;
    const bool zip = file.starts_with("PK");
    std::size_t silently_changed = 0;
    for (std::size_t at = 0; at < file.size(); ++at)
      for (int bit = 0; bit < 8; ++bit) {
        const char before = file[at];
        file[at] = static_cast<char>(before ^ (1 << bit));
        const Outcome outcome = outcome_of(file);
        if (zip && !outcome.refused && outcome.values != good) ++silently_changed;
        file[at] = before;
      }
    CHECK(silently_changed == 0);
  }
}

TEST_CASE("Extreme values in any field are refused or read inside the file", "[hostile][weights]") {
  for (const std::string& file : {small_safetensors(), weight_fixture("protocol4.pth"),
                                  weight_fixture("protocol5_legacy.pth")}) {
    const std::uint64_t size = file.size();
    const std::vector<std::uint64_t> extremes{
        0,    1,        0x7FFFFFFF, 0x80000000,       0xFFFFFFFF, ~std::uint64_t{0} >> 1,
        size, size - 1, size + 1,   ~std::uint64_t{0}};
    std::size_t refused = 0;
    for (std::size_t at = 0; at < file.size(); ++at)
      for (const std::size_t width : {1u, 2u, 4u, 8u})
        for (const std::uint64_t value : extremes) {
          std::string damaged = file;
          const std::string field = q2l::test::little_endian(value).substr(0, width);
          damaged.replace(at, std::min(width, file.size() - at), field, 0,
                          std::min(width, file.size() - at));
          refused += outcome_of(damaged).refused ? 1u : 0u;
        }
    CHECK(refused > file.size());
  }
}

TEST_CASE("Blocks that are swapped, repeated or emptied are refused or read inside the file",
          "[hostile][weights]") {
  for (const std::string& file : samples()) {
    constexpr std::size_t block = 64;
    std::size_t refused = 0;
    for (std::size_t a = 0; a + block <= file.size(); a += block) {
      std::string zeroed = file;
      std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(a), block, '\0');
      refused += outcome_of(zeroed).refused ? 1u : 0u;
      std::string repeated = file;
      repeated.insert(a, file.substr(a, block));
      refused += outcome_of(repeated).refused ? 1u : 0u;
      const std::size_t b = (a + 5 * block) % (file.size() - block + 1);
      std::string swapped = file;
      swapped.replace(a, block, file.substr(b, block));
      swapped.replace(b, block, file.substr(a, block));
      refused += outcome_of(swapped).refused ? 1u : 0u;
    }
    CHECK(refused > file.size() / block);
  }
}
