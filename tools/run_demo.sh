#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing, builds q2l, and tags the bundled pictures with the bundled model; the
# heat maps land in build/demo/.
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh
cmake --preset release -G Ninja -DQUERY2LABEL_BUILD_TESTS=OFF -DQUERY2LABEL_BUILD_EXAMPLES=OFF
cmake --build --preset release
mkdir -p build/demo
build/release/bin/q2l tag --model examples/data/demo.safetensors --heat-maps build/demo \
  examples/data/*.jpg examples/data/*.png
echo "heat maps: $(pwd)/build/demo"
