#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes benchmarks/shapes/NAME.txt: the distinct products of each model, for one picture.

    write_shapes.py [NAME...]

They are seen by running our PyTorch definition with hooks. Attention layers count as a framework
executes them: queries, keys and values of every token and label are projected.
"""
import argparse
import collections
import pathlib

import torch
from torch import nn

from query2label_torch import (CvtAttention, MultiheadAttention, Query2Label,
                               WindowAttention)

MODELS = {  # file: backbone, side, width
    "r101_448": ("resnet101", 448, 2048),
    "tresnetl_448": ("tresnetl", 448, 2432),
    "tresnetl_v2_448": ("tresnetl_v2", 448, 2048),
    "swinL_384": ("swin_L_384_22k", 384, 1536),
    "cvtw24_384": ("CvT_w24", 384, 1024),
}
HEADING = """\
# {name}: {backbone} at {side} x {side}, width {width}, 80 labels, batch 1. Made by tools/write_shapes.py.
# conv      stage count in_channels out_channels kernel stride padding height width   (of the input)
# depthwise stage count channels kernel stride padding height width
# linear    stage count rows in_features out_features
# attention stage count batch heads queries keys head_width
# stages: backbone; encoder (with the input projection); decoder (without the head)
"""


def stage_of(name):
    if name.startswith("backbone"):
        return "backbone"
    return "decoder" if name.startswith("transformer.decoder") else "encoder"


def layers_of(name, module, inputs, output):
    """The lines, without count, that one call of a module stands for."""
    stage = stage_of(name)
    if isinstance(module, nn.Conv2d):
        place = (module.kernel_size[0], module.stride[0], module.padding[0], *inputs[0].shape[2:])
        if module.groups == 1:
            yield ("conv", stage, module.in_channels, module.out_channels, *place)
        else:
            yield ("depthwise", stage, module.in_channels, *place)
    elif isinstance(module, nn.Linear):
        rows = inputs[0].numel() // module.in_features
        yield ("linear", stage, rows, module.in_features, module.out_features)
    elif isinstance(module, MultiheadAttention):
        query, key = inputs[0].shape[1], inputs[1].shape[1]
        width = inputs[0].shape[2]
        for rows in (query, key, key):
            yield ("linear", stage, rows, width, width)
        yield ("attention", stage, 1, module.heads, query, key, width // module.heads)
    elif isinstance(module, WindowAttention):
        windows, tokens, width = inputs[0].shape[1:]
        yield ("attention", stage, windows, module.heads, tokens, tokens, width // module.heads)
    elif isinstance(module, CvtAttention):
        extra = inputs[0].shape[1] - inputs[1] * inputs[2]
        keys = extra + ((inputs[1] + 1) // 2) * ((inputs[2] + 1) // 2)
        width = inputs[0].shape[2]
        yield ("attention", stage, 1, module.heads, inputs[0].shape[1], keys,
               width // module.heads)


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "shapes"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in MODELS]:
        parser.error(f"unknown: {' '.join(unknown)}")
    for file in args.names or MODELS:
        backbone, side, width = MODELS[file]
        model = Query2Label({"backbone": backbone, "img_size": side, "hidden_dim": width}).eval()
        counts = collections.Counter()
        for name, module in model.named_modules():
            module.register_forward_hook(
                lambda m, i, o, name=name: counts.update(layers_of(name, m, i, o)))
        with torch.no_grad():
            model(torch.zeros(1, 3, side, side))
        with open(folder / f"{file}.txt", "w") as out:
            out.write(HEADING.format(name=file, backbone=backbone, side=side, width=width))
            for (kind, stage, *sizes), count in counts.items():
                print(kind, stage, count, *sizes, file=out)
        print(file, sum(counts.values()), "layers,", len(counts), "distinct", flush=True)


if __name__ == "__main__":
    main()
