#!/bin/sh
# SPDX-License-Identifier: MIT
# Compares our models with other runtimes: sets up everything, exports, checks, times.
#
#     benchmarks/peers/run.sh [--threads 1 2] [--batch 1 8] [--rounds N]      options of compare.py
#
# Takes PyTorch from TORCH_PYTHON (default: python3, if it has it) or else installs its CPU build.
# MODELS chooses golden files by name; FOLDER (default build/peers) takes some 3 GB a model.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${FOLDER:-$root/build/peers}
goldens=${GOLDENS:-$root/tests/golden}
models=${MODELS:-r101-448-k80 tresnetl22k-448-k80 tresnetl-448-k80 swinL-384-k80 cvtw24-384-k80}
mkdir -p "$folder"

cmake -S "$root" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DQUERY2LABEL_BUILD_BENCHMARKS=ON \
  -DQUERY2LABEL_BUILD_TOOLS=OFF -DQUERY2LABEL_BUILD_TESTS=OFF -DQUERY2LABEL_BUILD_EXAMPLES=OFF
cmake --build "$folder/build" --target q2l_peer

python=$folder/venv/bin/python3
[ -x "$python" ] || python3 -m venv "$folder/venv"
"$python" -m pip install --quiet -r "$here/requirements.txt"
torch_python=${TORCH_PYTHON:-python3}
if ! "$torch_python" -c "import torch" 2>/dev/null; then
  "$python" -m pip install --quiet torch onnx
  torch_python=$python
fi

for model in $models; do
  [ -f "$folder/$model-b8.logits" ] ||
    "$torch_python" "$here/export_model.py" "$goldens/$model.json" "$folder"
done
# shellcheck disable=SC2086  # models are words
"$python" "$here/compare.py" "$folder" $models --ours "$folder/build/bin/q2l_peer" \
  --json "$folder/comparison.json" "$@"
