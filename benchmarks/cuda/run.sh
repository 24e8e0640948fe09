#!/bin/sh
# Builds, checks and times the CUDA headers in one call, and prints a short table last.
# Usage: benchmarks/cuda/run.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-"$source/build/cuda"}
python=${PYTHON:-python3}
no_gpu=77

cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DQUERY2LABEL_BUILD_CUDA=ON \
  -DQUERY2LABEL_BUILD_TOOLS=OFF
cmake --build "$build" --parallel --target query2label_cuda_tests attention_benchmark \
  08_cuda_attention
ctest --test-dir "$build" --label-regex cuda --output-on-failure

# One test provokes a failed allocation, which is no finding.
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ -x "$sanitizer" ]; then
  for tool in memcheck racecheck synccheck initcheck; do
    echo "compute-sanitizer: $tool"
    "$sanitizer" --tool "$tool" --error-exitcode 1 --report-api-errors no \
      "$build/bin/query2label_cuda_tests" || [ $? -eq $no_gpu ]
  done
else
  echo "no compute-sanitizer here: not run"
fi

status=0
"$build/bin/attention_benchmark" > "$build/attention.tsv" || status=$?
cat "$build/attention.tsv"
if [ "$status" -eq $no_gpu ]; then
  exit 0
fi
"$python" "$source/benchmarks/cuda/compare.py" "$build/attention.tsv"
exit "$status"
