#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes one model for everyone: our PyTorch definition with the weights of a golden file.

    export_model.py GOLDEN.json FOLDER [--batch N...]

NAME.safetensors (for q2l_peer) and, per batch size, NAME-bN.onnx (fixed shapes, as the runtimes like
best), NAME-bN.input (float32 [N, 3, S, S]) and NAME-bN.logits (what PyTorch answers).
"""
import argparse
import json
import pathlib
import sys
import warnings

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from query2label_torch import Query2Label, load_golden, recipe  # noqa: E402


def write_safetensors(path, golden, state):
    header, offset = {"__metadata__": {"config": json.dumps(golden["config"])}}, 0
    for name, shape, *_ in golden["tensors"]:
        size = 4 * state[name].numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, *_ in golden["tensors"]:
            file.write(state[name].contiguous().numpy().tobytes())


def unflatten(x, dim, sizes):
    """torch.Tensor.unflatten by operations that ONNX has (PyTorch 1.13 cannot export the original)."""
    return x.reshape([*x.shape[:dim], *sizes, *x.shape[dim + 1:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args()
    golden = recipe.load(args.golden)
    name, size = golden["name"], golden["config"]["img_size"]
    warnings.filterwarnings("ignore")
    torch.Tensor.unflatten = unflatten
    with torch.no_grad():
        model = Query2Label(golden["config"]).eval()
        load_golden(model, golden)
        write_safetensors(args.folder / f"{name}.safetensors", golden, model.state_dict())
        for batch in args.batch:
            stem = args.folder / f"{name}-b{batch}"
            given = golden["input"]
            values = recipe.fill("input", [batch, 3, size, size], given["offset"], given["scale"],
                                 golden["seed"])
            values.tofile(f"{stem}.input")
            pictures = torch.from_numpy(values)
            torch.onnx.export(model, pictures, f"{stem}.onnx", opset_version=17,
                              input_names=["input"], output_names=["logits"])
            model(pictures).numpy().tofile(f"{stem}.logits")
    print(f"{name}: exported", flush=True)


if __name__ == "__main__":
    main()
