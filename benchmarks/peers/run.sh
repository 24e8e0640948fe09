#!/bin/sh
# SPDX-License-Identifier: MIT
# Compares our models with other runtimes: sets up everything, exports, quantises, checks, times.
#
#     benchmarks/peers/run.sh [--threads 1 2] [--rounds N] [--runtimes ...]      options of compare.py
#
# Everything it makes lies in FOLDER (default build/peers): some 8 GB for a Python environment, 4 GB
# a model. A second run keeps what exists and only times. MODELS chooses golden files by name in
# GOLDENS (default: ../shared/golden beside the repository, which has all five, or else
# tests/golden); BATCHES the batch sizes. PICTURES is a folder with the pictures that are timed (the
# first eight by name) and that calibrate int8 (the others); by default 40 scenes are drawn, which
# takes Debian's fonts-noto-color-emoji. INT8=no leaves out quantising, a matter of minutes a model.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
for option; do
  case $option in
    -h | --help) exec sed -n '3,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" ;;
  esac
done
folder=${FOLDER:-$root/build/peers}
goldens=${GOLDENS:-$root/../shared/golden}
[ -d "$goldens" ] || goldens=$root/tests/golden
models=${MODELS:-r101-448-k80 tresnetl22k-448-k80 tresnetl-448-k80 swinL-384-k80 cvtw24-384-k80}
batches=${BATCHES:-1 8}
pictures=${PICTURES:-$folder/pictures}
font=/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

# What is missing is told before hours of work.
fail() {
  echo "run.sh: $1" >&2
  exit 2
}
for model in $models; do
  [ -f "$goldens/$model.json" ] || fail "no $goldens/$model.json: name others by MODELS or GOLDENS"
done
for batch in $batches; do
  case $batch in
    [1-8]) ;;
    *) fail "a batch of BATCHES is not in 1 to 8: $batch" ;;
  esac
done
[ -d "$pictures" ] || [ -z "${PICTURES:-}" ] || fail "no folder $pictures"
[ -d "$pictures" ] || [ -f "$font" ] ||
  fail "no $font to draw scenes with: install fonts-noto-color-emoji or name PICTURES"
mkdir -p "$folder"

python=$folder/venv/bin/python3
"$python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear "$folder/venv"
"$python" -m pip install --quiet -r "$here/requirements.txt"
# shellcheck disable=SC2086  # models and batches are words
compare() {
  "$python" "$here/compare.py" "$folder" $models --ours "$folder/build/bin/q2l_peer" \
    --batch $batches --results "$folder/comparison" "$@"
}
compare "$@" --check-arguments

cmake -S "$root" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DQUERY2LABEL_BUILD_BENCHMARKS=ON \
  -DQUERY2LABEL_BUILD_OP_BENCHMARKS=OFF -DQUERY2LABEL_BUILD_TOOLS=OFF \
  -DQUERY2LABEL_BUILD_TESTS=OFF -DQUERY2LABEL_BUILD_EXAMPLES=OFF
cmake --build "$folder/build" --target q2l_peer

export TORCHINDUCTOR_CACHE_DIR="$folder/inductor"

if [ ! -d "$pictures" ]; then
  "$python" "$root/tools/train_demo.py" scenes --count 40 --seed 5 --width 448 --height 448 \
    --out "$pictures.drawn"
  mv "$pictures.drawn" "$pictures"
fi

# shellcheck disable=SC2086  # models and batches are words
for model in $models; do
  "$python" "$here/export_model.py" "$goldens/$model.json" "$folder" --pictures "$pictures" \
    --batch $batches
  [ "${INT8:-yes}" = no ] ||
    "$python" "$here/quantize_model.py" "$folder" "$model" --pictures "$pictures" --batch $batches
done
compare "$@"
