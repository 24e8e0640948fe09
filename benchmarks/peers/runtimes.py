# SPDX-License-Identifier: MIT
"""The other runtimes: how each loads a model, in its best configuration, and what it needs.

A loader takes (stem, batch, threads), where stem is FOLDER/NAME, and returns a function from
pictures to logits and a note (or ""). It raises Unavailable, or ImportError, to be left out.
"""
import collections
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))


class Unavailable(Exception):
    """Why a runtime cannot take part."""


def existing(path):
    if not pathlib.Path(path).exists():
        raise Unavailable(f"no {pathlib.Path(path).name}")
    return path


def load_onnxruntime(path, threads):
    """The CPU provider with all graph optimisations; workers spin within an inference, as they do
    by default, but not after it, when the others have their turns."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(existing(path), options, ["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0], ""


def onnxruntime_f32(stem, batch, threads):
    return load_onnxruntime(f"{stem}-b{batch}.onnx", threads)


def onnxruntime_int8(stem, batch, threads):
    return load_onnxruntime(f"{stem}-b{batch}.onnxruntime-int8.onnx", threads)


def load_openvino(path, threads, precision):
    """One stream tuned for latency. The note says which arithmetic it chose, if another one."""
    import openvino
    model = openvino.Core().compile_model(existing(path), "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
    request = model.create_infer_request()
    chosen = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    note = "" if chosen == precision else f"runs in {chosen}: this CPU has no {precision}"
    return lambda x: request.infer({0: x}, share_inputs=True)[0], note


def openvino_f32(stem, batch, threads):
    return load_openvino(f"{stem}-b{batch}.onnx", threads, "f32")


def openvino_bf16(stem, batch, threads):
    return load_openvino(f"{stem}-b{batch}.onnx", threads, "bf16")


def openvino_int8(stem, batch, threads):
    return load_openvino(f"{stem}-b{batch}.openvino-int8.xml", threads, "f32")


def load_pytorch(stem, threads):
    """Our definition, compiled, with the weights frozen: faster here than eager or TorchScript.
    Compiling falls into the first inference."""
    import safetensors
    import torch
    import torch._inductor.config
    from query2label_torch import Query2Label
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    with safetensors.safe_open(existing(f"{stem}.safetensors"), "pt") as file:
        model = Query2Label(json.loads(file.metadata()["config"])).eval()
        state = {name: file.get_tensor(name) for name in file.keys()}
    model.load_state_dict(state, strict=False, assign=True)  # counters of batch norm are not stored
    return torch.compile(model)


def pytorch_f32(stem, batch, threads):
    import torch
    model = load_pytorch(stem, threads)

    def infer(x):
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()
    return infer, "torch.compile"


def pytorch_bf16(stem, batch, threads):
    import torch
    model = load_pytorch(stem, threads)

    def infer(x):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return model(torch.from_numpy(x)).float().numpy()
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return infer, "torch.compile" if supported else "torch.compile; this CPU has no bf16"


# precision; files beside the program, from {stem} and {batch}; the package to install; the loader
Runtime = collections.namedtuple("Runtime", "precision files package load")
RUNTIMES = {
    "onnxruntime-f32": Runtime("f32", ["{stem}-b{batch}.onnx"], "onnxruntime", onnxruntime_f32),
    "openvino-f32": Runtime("f32", ["{stem}-b{batch}.onnx"], "openvino", openvino_f32),
    "pytorch-f32": Runtime("f32", ["{stem}.safetensors"], "torch", pytorch_f32),
    "openvino-bf16": Runtime("bf16", ["{stem}-b{batch}.onnx"], "openvino", openvino_bf16),
    "pytorch-bf16": Runtime("bf16", ["{stem}.safetensors"], "torch", pytorch_bf16),
    "onnxruntime-int8": Runtime("int8", ["{stem}-b{batch}.onnxruntime-int8.onnx"], "onnxruntime",
                                onnxruntime_int8),
    "openvino-int8": Runtime("int8", ["{stem}-b{batch}.openvino-int8.xml",
                                      "{stem}-b{batch}.openvino-int8.bin"], "openvino",
                             openvino_int8),
}
