#!/bin/sh
# Builds, checks and times the CUDA headers in one call, and prints the tables last.
# Usage: benchmarks/cuda/run.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-"$source/build/cuda"}
python=${PYTHON:-python3}

cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DQUERY2LABEL_BUILD_CUDA=ON \
  -DQUERY2LABEL_BUILD_TOOLS=OFF
cmake --build "$build" --parallel --target query2label_cuda_tests attention_benchmark \
  08_cuda_attention
ctest --test-dir "$build" --label-regex cuda --output-on-failure
if command -v compute-sanitizer > /dev/null; then
  compute-sanitizer --error-exitcode 1 "$build/bin/08_cuda_attention" || [ $? -eq 77 ]
  compute-sanitizer --tool racecheck --error-exitcode 1 "$build/bin/08_cuda_attention" ||
    [ $? -eq 77 ]
fi

status=0
"$build/bin/attention_benchmark" > "$build/attention.tsv" || status=$?
cat "$build/attention.tsv"
if [ "$status" -eq 77 ]; then
  exit 0
fi
if [ "$status" -ne 0 ]; then
  exit "$status"
fi
"$python" "$source/benchmarks/cuda/compare_pytorch.py" "$build/attention.tsv" || [ $? -eq 77 ]
