#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes one model for everyone: our PyTorch definition with the weights of a golden file.

    export_model.py GOLDEN.json FOLDER --pictures PICTURES [--batch N...]

NAME.safetensors (for q2l_peer and PyTorch) and, per batch size, NAME-bN.onnx (fixed shapes, as the
runtimes like best), NAME-bN.input (float32 [N, 3, S, S]: the first N pictures) and NAME-bN.logits
(what PyTorch answers). Files that exist are kept.
"""
import argparse
import json
import pathlib
import sys
import unittest.mock
import warnings

import torch
from onnxscript import optimizer

from pictures import read_pictures

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from export_checkpoint import checkpoint_config  # noqa: E402
from query2label_torch import GroupWiseLinear, Query2Label, load_golden, recipe  # noqa: E402
from train_demo import write_safetensors  # noqa: E402

OPSET = 20  # the first with GELU as one operation; LayerNormalization is one since 17
NO_LIMIT = 1 << 40


def group_wise_product(layer, x):
    """GroupWiseLinear as batched products. OpenVINO 2026.4.1 answers its multiply-and-sum behind the
    last layer norm wrongly for more than one picture (logits off by 0.5); these it computes right."""
    return (x.unsqueeze(2) @ layer.W.unsqueeze(3)).flatten(1) + layer.b


def write_onnx(model, pictures, path):
    """The graph in evaluation mode, with everything folded that does not depend on the pictures."""
    with unittest.mock.patch.object(GroupWiseLinear, "forward", group_wise_product):
        program = torch.onnx.export(model, (pictures,), dynamo=True, opset_version=OPSET,
                                    verbose=False, input_names=["input"], output_names=["logits"])
    optimizer.optimize_ir(program.model, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT)
    program.save(path, external_data=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args()
    golden = recipe.load(args.golden)
    name, config = golden["name"], checkpoint_config(golden)
    missing = [n for n in args.batch if not (args.folder / f"{name}-b{n}.logits").exists()]
    if not missing:
        return
    warnings.filterwarnings("ignore")
    with torch.no_grad():
        model = Query2Label(config).eval()
        load_golden(model, golden)
        tensors = {n: value.numpy() for n, value in model.state_dict().items()
                   if not n.endswith("num_batches_tracked")}
        write_safetensors(args.folder / f"{name}.safetensors", tensors,
                          {"config": json.dumps(config)})
        for batch in missing:
            stem = args.folder / f"{name}-b{batch}"
            values = read_pictures(args.pictures, config, 0, batch)
            values.tofile(f"{stem}.input")
            pictures = torch.from_numpy(values)
            write_onnx(model, pictures, f"{stem}.onnx")
            model(pictures).numpy().tofile(f"{stem}.logits")  # the last: its presence says done
    print(f"{name}: exported", flush=True)


if __name__ == "__main__":
    main()
