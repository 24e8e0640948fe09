// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <string_view>

namespace q2l {

/// The 80 classes of MS-COCO, in the order of their category ids.
inline constexpr std::array<std::string_view, 80> coco80_names = {
    "person",        "bicycle",      "car",
    "motorcycle",    "airplane",     "bus",
    "train",         "truck",        "boat",
    "traffic light", "fire hydrant", "stop sign",
    "parking meter", "bench",        "bird",
    "cat",           "dog",          "horse",
    "sheep",         "cow",          "elephant",
    "bear",          "zebra",        "giraffe",
    "backpack",      "umbrella",     "handbag",
    "tie",           "suitcase",     "frisbee",
    "skis",          "snowboard",    "sports ball",
    "kite",          "baseball bat", "baseball glove",
    "skateboard",    "surfboard",    "tennis racket",
    "bottle",        "wine glass",   "cup",
    "fork",          "knife",        "spoon",
    "bowl",          "banana",       "apple",
    "sandwich",      "orange",       "broccoli",
    "carrot",        "hot dog",      "pizza",
    "donut",         "cake",         "chair",
    "couch",         "potted plant", "bed",
    "dining table",  "toilet",       "tv",
    "laptop",        "mouse",        "remote",
    "keyboard",      "cell phone",   "microwave",
    "oven",          "toaster",      "sink",
    "refrigerator",  "book",         "clock",
    "vase",          "scissors",     "teddy bear",
    "hair drier",    "toothbrush"};

/// The 20 classes of PASCAL VOC 2007 and 2012, alphabetical.
inline constexpr std::array<std::string_view, 20> voc20_names = {
    "aeroplane", "bicycle",     "bird",  "boat",        "bottle", "bus",      "car",
    "cat",       "chair",       "cow",   "diningtable", "dog",    "horse",    "motorbike",
    "person",    "pottedplant", "sheep", "sofa",        "train",  "tvmonitor"};

/// The 81 concepts of NUS-WIDE, in the order of its Concepts81.txt.
inline constexpr std::array<std::string_view, 81> nus81_names = {
    "airport",    "animal",    "beach",    "bear",    "birds",    "boats",      "book",
    "bridge",     "buildings", "cars",     "castle",  "cat",      "cityscape",  "clouds",
    "computer",   "coral",     "cow",      "dancing", "dog",      "earthquake", "elk",
    "fire",       "fish",      "flags",    "flowers", "food",     "fox",        "frost",
    "garden",     "glacier",   "grass",    "harbor",  "horses",   "house",      "lake",
    "leaf",       "map",       "military", "moon",    "mountain", "nighttime",  "ocean",
    "person",     "plane",     "plants",   "police",  "protest",  "railroad",   "rainbow",
    "reflection", "road",      "rocks",    "running", "sand",     "sign",       "sky",
    "snow",       "soccer",    "sports",   "statue",  "street",   "sun",        "sunset",
    "surf",       "swimmers",  "tattoo",   "temple",  "tiger",    "tower",      "town",
    "toy",        "train",     "tree",     "valley",  "vehicle",  "water",      "waterfall",
    "wedding",    "whales",    "window",   "zebra"};

}  // namespace q2l
