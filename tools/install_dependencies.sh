#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what building and testing need and this machine lacks (Debian and its relatives).
set -eu
packages="g++ cmake ninja-build libxsimd-dev libstb-dev nlohmann-json3-dev libcli11-dev libeigen3-dev catch2 python3"
missing=""
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0
as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo"
$as_root apt-get update -q
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
