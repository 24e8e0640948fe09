#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes golden files of small random models, to compare the C++ model with PyTorch in float64.

    write_random_goldens.py FOLDER [--count N] [--seed S]
    q2l-golden FOLDER/*.json

Backbones of every family and options of the transformer in combinations and odd sizes that the
released models do not have. The form is that of tests/golden, weights come from the same recipe.
Some are so ill-conditioned, or have so few labels, that a right answer exceeds its bound of three
times PyTorch's own float32 error: of the first 400 eight did, up to 2.3 times, seven of them CvT;
the logits' error was that of PyTorch in the geometric mean (0.84 to 0.96 times by family).
"""
import argparse
import json
import math
import pathlib
import random

import torch

from query2label_torch import Query2Label, load_golden, recipe

SAMPLES = 64  # elements kept of each large quantity
LABELS = 3    # whose attention is kept
WINDOW_SIDES = {2: 64, 4: 128, 7: 224, 12: 384}  # Swin's window: a side that its stages divide


def random_resnet(rng):
    block = rng.choice(["basic", "bottleneck"])
    width = rng.choice([8, 12, 16, 24, 33])
    arch = {"type": "resnet", "block": block, "layers": [rng.randint(1, 2) for _ in range(4)],
            "width": width}
    name = rng.choice(["resnet18", "resnet34"] if block == "basic" else ["resnet50", "resnet101"])
    return name, arch, rng.choice([64, 96, 128, 160, 192])


def random_tresnet(rng):
    arch = {"type": "tresnet", "layers": [rng.randint(1, 2) for _ in range(4)],
            "width_factor": rng.choice([0.125, 0.25, 0.3, 0.5])}
    if rng.random() < 0.2:
        arch["blocks"] = [rng.choice(["basic", "bottleneck"]) for _ in range(4)]
    return (rng.choice(["tresnetl", "tresnetl_v2", "tresnetxl"]), arch,
            rng.choice([64, 96, 128, 160]))


def random_swin(rng):
    window = rng.choice(list(WINDOW_SIDES))
    arch = {"type": "swin", "embed_dim": rng.choice([8, 16, 24]),
            "depths": [rng.randint(1, 3) for _ in range(4)],
            "num_heads": [rng.choice([1, 2]) << i for i in range(4)], "window_size": window}
    side = WINDOW_SIDES[window] * (rng.choice([1, 2]) if window < 7 else 1)
    return rng.choice(["swin_B_224_22k", "swin_L_384_22k"]), arch, side


def random_cvt(rng):
    arch = {"type": "cvt",
            "embed_dims": [rng.choice([8, 16, 20]), rng.choice([24, 32, 40]),
                           rng.choice([32, 48, 64])],
            "num_heads": [rng.choice([1, 2]), rng.choice([1, 2, 4]), rng.choice([1, 2, 4])],
            "depths": [rng.randint(1, 2) for _ in range(3)]}
    return "CvT_w24", arch, rng.choice([32, 48, 64, 80, 96, 112, 144])


def random_config(rng):
    name, arch, side = rng.choice([random_resnet, random_tresnet, random_swin, random_cvt])(rng)
    pre_norm = rng.random() < 0.3  # which needs every self-attention
    config = {
        "backbone": name, "backbone_arch": arch, "img_size": side, "pre_norm": pre_norm,
        "position_embedding": "sine", "dim_feedforward": rng.choice([16, 40, 64, 100, 256]),
        "enc_layers": rng.choice([0, 1, 1, 2, 3]), "dec_layers": rng.choice([1, 2, 2, 3, 4]),
        "num_class": rng.choice([1, 2, 3, 7, 20, 81, 200]),
        "keep_first_self_attn_dec": pre_norm or rng.random() < 0.4,
        "keep_other_self_attn_dec": pre_norm or rng.random() < 0.4,
    }
    heads = rng.choice([1, 2, 3, 4, 8])
    # The position code needs a width of a multiple of 4.
    width = math.lcm(4, heads) * rng.choice([1, 2, 3, 4, 5, 9])
    config.update(nheads=heads, hidden_dim=width, keep_input_proj=True)
    channels = Query2Label({**config, "enc_layers": 0, "dec_layers": 1}).backbone[0].channels
    if rng.random() < 0.5 and channels % math.lcm(4, heads) == 0:
        config.update(hidden_dim=channels, keep_input_proj=False)
    return config


def offset_and_scale(name, shape):
    """The uniform distribution of a tensor, such that values stay near 1 from layer to layer."""
    last = name.split(".")[-1]
    special = {"query_embed.weight": (0, 1.7), "fc.W": (0, math.sqrt(3 / shape[-1])),
               "fc.b": (0, 0.3)}
    if name in special:
        return special[name]
    if last in ("cls_token", "relative_position_bias_table"):
        return 0, 1.0
    if len(shape) > 1:
        gain = 1.2
        if any(part in name for part in ("in_proj", "conv_proj", "proj_q.", "proj_k.", "qkv")):
            gain = 2.0
        elif ".body.layer" in name and any(part in name for part in ("conv2.", "conv3.")):
            gain = 0.45  # ResNet's residual branches
        return 0, gain * math.sqrt(3 / math.prod(shape[1:]))
    if last == "running_var":
        return 1.0, 0.5
    if last in ("running_mean", "bias", "in_proj_bias"):
        return 0, 0.2
    return (0.6, 1.0) if ".body.body." in name else (1.0, 0.2)  # InPlaceABN's may be negative


def run(golden, dtype):
    """What the model answers in `dtype`, in the order of golden files."""
    torch.set_default_dtype(dtype)
    with torch.no_grad():
        model = Query2Label(golden["config"]).eval()
        load_golden(model, golden)
        parts = model.parts(torch.from_numpy(recipe.model_input(golden)).to(dtype))
    return {"logits": parts["logits"], "features": parts["features"],
            "memory": parts["memory"].transpose(0, 1),
            "decoded": parts["decoded"].transpose(0, 1)[None],
            "attention": torch.stack([layer[0].mean(0) for layer in parts["attention"]])}


def summary(value, rng):
    flat = value.reshape(-1).numpy()
    index = sorted(rng.sample(range(len(flat)), min(SAMPLES, len(flat))))
    return {"shape": list(value.shape), "mean": flat.mean(), "std": flat.std(),
            "samples": [[i, flat[i]] for i in index]}


def random_golden(number):
    rng = random.Random(number)
    config = random_config(rng)
    tensors = [[name, list(value.shape), *offset_and_scale(name, value.shape)]
               for name, value in Query2Label(config).state_dict().items()
               if not name.endswith("num_batches_tracked")]
    side = config["img_size"]
    height, width = rng.choice([(side, side), (side, 2 * side), (2 * side, side)])
    golden = {"name": f"random{number}", "config": config, "seed": number, "tensors": tensors,
              "derived": [],
              "input": {"shape": [rng.randint(1, 3), 3, height, width], "offset": 0.0, "scale": 2.0}}
    exact, rounded = run(golden, torch.float64), run(golden, torch.float32)
    if config["enc_layers"] == 0:
        del exact["memory"]
    golden["float32_error_of_pytorch"] = {
        name: (value - rounded[name]).abs().max().item() for name, value in exact.items()}
    labels = sorted(rng.sample(range(config["num_class"]), min(LABELS, config["num_class"])))
    expect = {name: summary(exact[name], rng)
              for name in ("features", "memory", "decoded") if name in exact}
    expect["logits"] = exact["logits"].tolist()
    expect["attention"] = [
        {"image": 0, "layer": layer, "label": label, "map": weights[label].tolist()}
        for layer, weights in enumerate(exact["attention"]) for label in labels]
    golden["expect"] = expect
    return golden


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="number of the first model")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # more only get in each other's way on models this small
    for number in range(args.seed, args.seed + args.count):
        golden = random_golden(number)
        (args.folder / f"{golden['name']}.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()
