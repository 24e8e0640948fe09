#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/weights/data: very small checkpoints of every family, saved by PyTorch.

    make_checkpoint_fixtures.py [FOLDER]

Each NAME.pkl or NAME.pth holds random weights the way a trainer saves them (the variants below);
NAME.json is its configuration; NAME.expect.json gives an input by the generator of tests/golden and
the logits that our PyTorch definition computes from it in float64.
"""
import argparse
import json
import pathlib

import numpy as np
import torch

from export_checkpoint import derived_tensors, optimizer_state
from query2label_torch import InPlaceABN, Query2Label, recipe

HEAD = {"hidden_dim": 8, "dim_feedforward": 12, "enc_layers": 1, "dec_layers": 2, "nheads": 2,
        "num_class": 3, "pre_norm": False, "position_embedding": "sine",
        "keep_other_self_attn_dec": False, "keep_first_self_attn_dec": False,
        "keep_input_proj": True, "orid_norm": False}
FAMILIES = {
    "resnet_basic": {"backbone": "resnet18", "img_size": 64, "backbone_arch": {
        "type": "resnet", "block": "basic", "layers": [1, 1, 1, 1], "width": 2}},
    "resnet_bottleneck": {"backbone": "resnet50", "img_size": 64, "backbone_arch": {
        "type": "resnet", "block": "bottleneck", "layers": [2, 1, 1, 1], "width": 1}},
    "tresnet": {"backbone": "tresnetl", "img_size": 64, "orid_norm": True, "backbone_arch": {
        "type": "tresnet", "layers": [1, 2, 1, 1], "width_factor": 0.03125}},
    "tresnet_v2": {"backbone": "tresnetl_v2", "img_size": 64, "orid_norm": True, "backbone_arch": {
        "type": "tresnet", "layers": [1, 1, 1, 1], "width_factor": 0.015625}},
    "swin": {"backbone": "swin_B_224_22k", "img_size": 64, "backbone_arch": {
        "type": "swin", "embed_dim": 2, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 2, 4],
        "window_size": 4}},
    "cvt": {"backbone": "CvT_w24", "img_size": 48, "backbone_arch": {
        "type": "cvt", "embed_dims": [2, 4, 8], "num_heads": [1, 2, 2], "depths": [1, 1, 2]}},
}
# How each is saved: file name, key prefix, where the weights are nested, and what else.
VARIANTS = [
    ("resnet_basic.pkl", "resnet_basic", "module.", "state_dict", "optimizer"),
    ("resnet_basic_legacy.pth", "resnet_basic", "module.", "state_dict", "legacy optimizer"),
    ("resnet_basic_half.pth", "resnet_basic", "model.", "model", "half"),
    ("resnet_basic_bfloat16.pth", "resnet_basic", "", "model_ema", "bfloat16"),
    ("resnet_basic_views.pth", "resnet_basic", "", None, "views"),
    ("resnet_bottleneck.pkl", "resnet_bottleneck", "module.", "state_dict", ""),
    ("tresnet.pkl", "tresnet", "module.", "state_dict", ""),
    ("tresnet_v2.pkl", "tresnet_v2", "", "state_dict", ""),
    ("swin.pkl", "swin", "", "state_dict", ""),
    ("cvt.pkl", "cvt", "module.", "state_dict", ""),
]


def fill_weights(model):
    """Weights of a size that keeps signals alive, batch statistics away from 0 and 1, and TResNet's
    norm weights of both signs."""
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)) + \
                list(module.named_buffers(recurse=False)):
            if not value.is_floating_point():
                continue
            if name == "running_var":
                value.uniform_(0.5, 1.5)
            elif value.ndim >= 2 and name != "cls_token":
                value.uniform_(-1, 1).mul_((3 / value[0].numel()) ** 0.5)
            elif isinstance(module, InPlaceABN) and name == "weight":
                value.uniform_(-0.4, 1.6)
            else:
                offset = 1.0 if name == "weight" else 0.0
                value.uniform_(offset - 0.2, offset + 0.2)


def derived_list(model, config):
    """Names, shapes and types of the computable tensors that a real checkpoint of it carries."""
    grid = config["img_size"] // (16 if "cvt" in config["backbone_arch"]["type"] else 32)
    listed = [["backbone.1.pe", [1, config["hidden_dim"], grid, grid], "float32"]]
    for name, module in model.named_modules():
        if config["backbone_arch"]["type"] == "cvt" and isinstance(module, torch.nn.BatchNorm2d):
            listed.append([f"{name}.num_batches_tracked", [], "int64"])
        if hasattr(module, "relative_position_bias_table"):
            tokens = len(module.index)
            listed.append([f"{name}.relative_position_index", [tokens, tokens], "int64"])
        if getattr(module, "shift", 0):
            side = config["img_size"] >> (2 + int(name.split(".")[3]))
            tokens = module.window ** 2
            listed.append([f"{name}.attn_mask", [side * side // tokens, tokens, tokens], "float32"])
    return listed


def build(family, seed):
    config = {**HEAD, **FAMILIES[family]}
    torch.manual_seed(seed)
    model = Query2Label(config).eval()
    with torch.no_grad():
        fill_weights(model)
    weights = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    description = {"config": config, "derived": derived_list(model, config)}
    weights.update(derived_tensors(description, model))
    return config, model, weights


def as_views(weights):
    """The same numbers as slices, transposes and columns of shared storages."""
    names = [k for k, v in weights.items() if v.is_floating_point() and v.ndim == 1]
    shared = torch.cat([weights[k] for k in names])
    parts = dict(zip(names, shared.split([len(weights[k]) for k in names])))
    for name, value in weights.items():
        if value.ndim == 2:
            parts[name] = value.t().contiguous().t()
        elif value.ndim == 4:
            parts[name] = value.contiguous(memory_format=torch.channels_last)
    return {k: parts.get(k, v) for k, v in weights.items()}


def logits_of(model, config, seed):
    shape = [2, 3, config["img_size"], config["img_size"]]
    inputs = torch.from_numpy(recipe.fill("input", shape, 0.0, 2.0, seed)).double()
    with torch.no_grad():
        logits = model.double()(inputs).tolist()
    return {"input": {"shape": shape, "offset": 0, "scale": 2, "seed": seed},
            "logits": [[round(v, 9) for v in row] for row in logits]}


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path,
                        default=root / "tests" / "weights" / "data")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for number, (file, family, prefix, nest, extra) in enumerate(VARIANTS):
        config, model, weights = build(family, 100 + number)
        for kind, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16)):
            if kind in extra:
                weights = {k: v.to(dtype) if v.is_floating_point() else v
                           for k, v in weights.items()}
                rounded = {k: v.float() for k, v in weights.items() if k != "backbone.1.pe"}
                model.load_state_dict(rounded, strict=False)
        if "views" in extra:
            weights = as_views(weights)
        state = {prefix + k: v.clone() if extra != "views" else v for k, v in weights.items()}
        saved = state
        if nest:
            saved = {"epoch": 3, "arch": "Q2L", nest: state, "best_mAP": np.float64(51.25)}
        if "optimizer" in extra:
            saved["optimizer"] = optimizer_state(state)
        torch.save(saved, folder / file, _use_new_zipfile_serialization="legacy" not in extra)
        stem = file.split(".")[0]
        (folder / f"{stem}.json").write_text(json.dumps(config, indent=1) + "\n")
        expect = logits_of(model, config, 500 + number)
        (folder / f"{stem}.expect.json").write_text(json.dumps(expect) + "\n")


if __name__ == "__main__":
    main()
