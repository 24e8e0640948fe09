#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a golden model's weights as a checkpoint the way the reference trainer saves them.

    export_checkpoint.py GOLDEN.json OUT.pkl [--legacy] [--prefix module.] [--optimizer]
                         [--nest NAME] [--score PICTURE.png...]

OUT.pkl is a torch.save of {epoch, arch, state_dict, best_mAP, optimizer}; config_new.json lies
beside it. --score also runs our PyTorch definition on pictures, in float64, and writes labels'
scores and logits to OUT.scores.json and standard output.
"""
import argparse
import collections
import json
import pathlib

import numpy as np
import torch
from PIL import Image

from query2label_torch import Query2Label, SwinBlock, load_golden, recipe

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def checkpoint_config(golden):
    """The golden configuration among other arguments of a training run."""
    config = dict(golden["config"])
    config.setdefault("orid_norm", config["backbone"].startswith("tresnet"))
    return {**config, "dataname": "coco14", "epochs": 80, "lr": 1e-4, "eps": 1e-5, "dtgfl": True,
            "resume": None, "world_size": 8, "local_rank": 0}


def derived_tensors(golden, model):
    """What real checkpoints store besides: position code, Swin's tables, batch counters."""
    tables = {}
    for name, module in model.named_modules():
        if isinstance(module, SwinBlock):
            tables[f"{name}.attn.relative_position_index"] = module.attn.index
            if module.shift:
                stage = int(name.split(".")[3])
                side = golden["config"]["img_size"] >> (2 + stage)
                tables[f"{name}.attn_mask"] = module.region_mask(side, side, torch.empty(0))
    for name, shape, dtype in golden["derived"]:
        if name == "backbone.1.pe":
            value = model.position(*shape[2:], torch.empty(0))
        elif name.endswith("num_batches_tracked"):
            value = torch.tensor(41250)
        else:
            value = tables[name]
        if list(value.shape) != shape or str(value.dtype) != f"torch.{dtype}":
            raise ValueError(f"{name}: {list(value.shape)} {value.dtype}, expected {shape} {dtype}")
        yield name, value


def optimizer_state(state):
    """AdamW's: two tensors of every parameter's size."""
    return {"state": {i: {"step": 41250, "exp_avg": torch.full_like(v, 1e-3),
                          "exp_avg_sq": torch.full_like(v, 1e-6)}
                      for i, v in enumerate(state.values())},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2,
                              "amsgrad": False, "params": list(range(len(state)))}]}


def score(model, config, picture):
    """Scores and logits of a picture file, in float64."""
    size = config["img_size"]
    pixels = Image.open(picture).convert("RGB").resize((size, size), Image.BILINEAR)
    mean, std = UNIT if config["orid_norm"] else IMAGENET
    pixels = torch.from_numpy((np.asarray(pixels) / 255.0 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = model.double()(pixels)[0]
    return {"path": pathlib.Path(picture).name, "scores": logits.sigmoid().tolist(),
            "logits": logits.tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden")
    parser.add_argument("out")
    parser.add_argument("--legacy", action="store_true", help="the stream format before torch 1.6")
    parser.add_argument("--prefix", default="", help="put before every key")
    parser.add_argument("--optimizer", action="store_true", help="add the optimizer's state")
    parser.add_argument("--nest", default="state_dict", help="name that holds the weights")
    parser.add_argument("--score", nargs="+", default=[], metavar="PICTURE")
    args = parser.parse_args()

    golden = recipe.load(args.golden)
    config = checkpoint_config(golden)
    model = Query2Label(golden["config"]).eval()
    with torch.no_grad():
        load_golden(model, golden)
    weights = model.state_dict()
    state = collections.OrderedDict((args.prefix + t[0], weights[t[0]]) for t in golden["tensors"])
    checkpoint = {"epoch": 36, "arch": f"Q2L-{config['backbone']}", args.nest: state,
                  "best_mAP": np.float64(84.9)}
    if args.optimizer:
        checkpoint["optimizer"] = optimizer_state(state)
    state.update((args.prefix + name, value) for name, value in derived_tensors(golden, model))

    out = pathlib.Path(args.out)
    torch.save(checkpoint, out, _use_new_zipfile_serialization=not args.legacy)
    (out.parent / "config_new.json").write_text(json.dumps(config, indent=2) + "\n")
    if args.score:
        text = json.dumps([score(model, config, picture) for picture in args.score], indent=1)
        out.with_suffix(".scores.json").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    main()
