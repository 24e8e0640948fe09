#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Quantises what export_model.py wrote to int8, with the tools of the runtimes themselves.

    quantize_model.py FOLDER NAME --pictures PICTURES [--batch N...] [--tools onnxruntime openvino]

Both calibrate with the same pictures. Writes NAME-bN.onnxruntime-int8.onnx and
NAME-bN.openvino-int8.xml and .bin; files that exist are kept. A tool that is not installed is left
out, and so will be its runtime.
"""
import argparse
import json
import pathlib
import tempfile

import safetensors

from pictures import calibration_batches


def has_dot_product():
    """Whether this CPU multiplies bytes without saturating in between (VNNI)."""
    return "vnni" in pathlib.Path("/proc/cpuinfo").read_text()


def quantize_onnxruntime(source, target, batches):
    """Static, per channel, as pairs of QuantizeLinear and DequantizeLinear. Where the CPU's byte
    products saturate, weights have seven bits, as ONNX Runtime's manual advises."""
    from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                          quantize_static)
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def get_next(self):
            pictures = next(batches, None)
            return None if pictures is None else {"input": pictures}

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    reduce_range=not has_dot_product())
    prepared.unlink()


def quantize_openvino(source, target, batches):
    """NNCF's post-training quantisation, told that the model has a transformer."""
    import nncf
    import openvino
    pictures = list(batches)
    model = nncf.quantize(openvino.Core().read_model(source), nncf.Dataset(pictures),
                          model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
                          subset_size=len(pictures))
    openvino.save_model(model, target, compress_to_fp16=False)


TOOLS = {"onnxruntime": (quantize_onnxruntime, ".onnx"), "openvino": (quantize_openvino, ".xml")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("name")
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    args = parser.parse_args()
    with safetensors.safe_open(args.folder / f"{args.name}.safetensors", "np") as file:
        config = json.loads(file.metadata()["config"])
    for batch in args.batch:
        for tool in args.tools:
            quantize, suffix = TOOLS[tool]
            source = args.folder / f"{args.name}-b{batch}.onnx"
            target = args.folder / f"{args.name}-b{batch}.{tool}-int8{suffix}"
            if target.exists():
                continue
            try:
                with tempfile.TemporaryDirectory(dir=args.folder) as unfinished:
                    unfinished = pathlib.Path(unfinished)
                    quantize(source, unfinished / target.name,
                             calibration_batches(args.pictures, config, batch))
                    # The model last: its presence says done.
                    for file in sorted(unfinished.iterdir(), key=lambda f: f.name == target.name):
                        file.rename(args.folder / file.name)
                print(f"{target.name}: written", flush=True)
            except ImportError as reason:
                print(f"{target.name}: left out: {reason}", flush=True)


if __name__ == "__main__":
    main()
