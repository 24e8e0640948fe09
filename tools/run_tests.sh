#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing, builds everything and runs all tests.
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh
cmake --preset dev -G Ninja
cmake --build --preset dev
ctest --preset dev --parallel "$(nproc)"
