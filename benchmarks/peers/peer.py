#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A runtime's side of compare.py; the lines it reads and writes are those of q2l_peer.cpp.

    peer.py onnxruntime | openvino  MODEL.onnx INPUT THREADS
"""
import os
import sys
import time

import numpy as np


def load_onnxruntime(path, threads):
    """The CPU provider, all graph optimisations; its workers spin, as they do by default."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return shape, lambda x: session.run(None, {"input": x})[0]


def load_openvino(path, threads):
    """One stream tuned for latency, held to float32 arithmetic."""
    import openvino
    model = openvino.Core().compile_model(path, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
    request = model.create_infer_request()
    shape = list(model.inputs[0].shape)
    return shape, lambda x: request.infer({0: x}, share_inputs=True)[0]


def main():
    runtime, model_path, input_path, threads = sys.argv[1:]
    start = time.perf_counter()
    load = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}[runtime]
    shape, infer = load(model_path, int(threads))
    seconds = time.perf_counter() - start
    x = np.fromfile(input_path, np.float32).reshape(shape)
    print("ready", seconds, flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "run":
            times = []
            for _ in range(int(argument)):
                begin = time.perf_counter()
                logits = infer(x)
                times.append(time.perf_counter() - begin)
            print(*times, flush=True)
        elif command == "logits":
            np.asarray(logits, np.float32).tofile(argument)
            print("done", flush=True)
        else:
            sys.exit(f"peer.py: unknown command {command}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some runtimes take seconds to tear down
