#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the bundled model: a small Query2Label that finds emoji in drawn scenes.

    train_demo.py scenes   --count 8 --seed 3 --out scenes        PNG scenes and labels.json
    train_demo.py train    --minutes 90 --out run                 writes run/last.pt, run/log.txt
    train_demo.py export   --run run --out demo.safetensors       the model file
    train_demo.py evaluate --model demo.safetensors --scenes scenes --out scores.json
    train_demo.py compare  --scores scores.json --jsonl q2l.jsonl  with `q2l tag --scores all`
    train_demo.py pictures --out ../examples/data                 the six example pictures

The paper's recipe: asymmetric loss, AdamW under one cycle of the learning rate, a moving average
of the weights. The schedule follows the clock, so that training ends when it should on any
machine; its first part sees smaller pictures. Runs on two CPU cores; wants Debian's python3-torch,
python3-numpy, python3-pil, fonts-noto-color-emoji, and libopenblas0-pthread (three times faster
than the default BLAS).
"""
import argparse
import copy
import json
import math
import pathlib
import struct
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import recipe
from average_precision import mean_average_precision
from demo_scenes import LABELS, draw_scene
from query2label_torch import Query2Label

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG = {
    "backbone": "resnet18",
    "backbone_arch": {"type": "resnet", "block": "basic", "layers": [2, 2, 2, 2], "width": 24},
    "img_size": 160, "hidden_dim": 128, "dim_feedforward": 256, "enc_layers": 1, "dec_layers": 2,
    "nheads": 4, "num_class": len(LABELS), "pre_norm": False, "position_embedding": "sine",
    "keep_other_self_attn_dec": False, "keep_first_self_attn_dec": False, "keep_input_proj": True,
    "orid_norm": False,
}
TRAIN_SEED, WATCH_SEED = 1, 2
SELF_TEST_SEED = 7
# The example pictures: name, number of the scene, size.
PICTURE_SEED = 77
PICTURES = [("scene1.jpg", 12, (640, 480)), ("scene2.png", 20, (600, 600)),
            ("scene3.jpg", 10, (640, 427)), ("scene4.png", 17, (512, 640)),
            ("scene5.jpg", 9, (720, 480)), ("scene6.png", 8, (600, 600))]


# ------------------------------------------------------------------------------------ the pixels

def to_tensor(picture, size, mean=MEAN, std=STD):
    """8-bit RGB picture to normalised [3, S, S], resized as at inference."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.BILINEAR)
    pixels = torch.from_numpy(np.array(picture, np.uint8)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def to_target(labels):
    target = torch.zeros(len(LABELS))
    target[labels] = 1
    return target


class Scenes(IterableDataset):
    """Fresh scenes from number `start` on; drawn in a worker process."""

    def __init__(self, seed, start, size):
        self.seed, self.start, self.size = seed, start, size

    def __iter__(self):
        index = self.start
        while True:
            picture, labels = draw_scene(self.seed, index, self.size, self.size)
            yield to_tensor(picture, self.size), to_target(labels)
            index += 1


def batches(seed, start, size, batch):
    return iter(DataLoader(Scenes(seed, start, size), batch, num_workers=1, prefetch_factor=12,
                           worker_init_fn=lambda _: torch.set_num_threads(1)))


# -------------------------------------------------------------------------------------- training

def asymmetric_loss(logits, targets, gamma_negative=2.0, clip=0.05):
    """Ridnik et al., arXiv 2009.14119, with gamma_positive = 0: easy negatives count less."""
    p = logits.sigmoid()
    negative = (p - clip).clamp(min=0)
    loss = targets * p.clamp(min=1e-8).log()
    loss = loss + (1 - targets) * negative ** gamma_negative * (1 - negative).log()
    return -loss.sum() / len(logits)


def scores_of(model, inputs, batch=50):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x).sigmoid() for x in inputs.split(batch)]).double().numpy()


def learning_rate(progress, peak):
    """One cycle: up during the first twelfth, then a cosine to zero."""
    rise = 1 / 12
    if progress < rise:
        return peak * (0.04 + 0.96 * progress / rise)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - rise) / (1 - rise))))


def update_average(average, model, step, decay):
    """Moving average of weights and batch statistics; young averages forget faster."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        state = model.state_dict()
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(state[name], 1 - decay)


def train(args):
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model = Query2Label(CONFIG).to(memory_format=torch.channels_last)
    # A plain classifier on the feature map, trained along and thrown away, speeds up the start.
    helper = torch.nn.Linear(model.backbone[0].channels, len(LABELS))
    average = copy.deepcopy(model)
    parameters = list(model.parameters()) + list(helper.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 1e-2},
         {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}],
        betas=(0.9, 0.99))
    step, spent = 0, 0.0
    if args.resume:
        saved = torch.load(out / "last.pt")
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        helper.load_state_dict(saved["helper"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]

    watch = [draw_scene(WATCH_SEED, i) for i in range(500)]
    watch_inputs = torch.stack([to_tensor(p, CONFIG["img_size"]) for p, _ in watch])
    watch_truth = torch.stack([to_target(labels) for _, labels in watch]).numpy()

    def report(line):
        line = f"{spent / 60:6.1f} min  step {step:6d}  {line}"
        print(line, flush=True)
        with open(out / "log.txt", "a") as log:
            log.write(line + "\n")

    def save():
        torch.save({"model": model.state_dict(), "average": average.state_dict(),
                    "helper": helper.state_dict(), "optimizer": optimizer.state_dict(),
                    "step": step, "spent": spent}, out / "last.part")
        (out / "last.part").replace(out / "last.pt")

    size, supply, losses = None, None, []
    budget, begin, watched = args.minutes * 60, time.time() - spent, spent
    while spent < budget:
        progress = spent / budget
        wanted = CONFIG["img_size"] if progress >= args.small_part else args.small_size
        if wanted != size:
            size = wanted
            supply = batches(TRAIN_SEED, step * args.batch, size, args.batch)
        inputs, targets = next(supply)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, args.rate)
        model.train()
        parts = model.parts(inputs.contiguous(memory_format=torch.channels_last))
        loss = asymmetric_loss(parts["logits"], targets)
        helper_loss = asymmetric_loss(helper(parts["features"].mean((2, 3))), targets)
        optimizer.zero_grad(set_to_none=True)
        (loss + 0.5 * (1 - progress) * helper_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        step += 1
        update_average(average, model, step, args.average)
        losses.append((loss.item(), helper_loss.item()))
        spent = time.time() - begin
        if step % 50 == 0:
            report(f"size {size}  rate {optimizer.param_groups[0]['lr']:.2e}  "
                   "loss %.3f  helper %.3f" % tuple(np.mean(losses, 0)))
            losses = []
        if spent - watched > args.watch * 60 or spent >= budget:
            watched = spent
            save()
            report("mAP %.2f" % mean_average_precision(scores_of(average, watch_inputs),
                                                       watch_truth)[0])
            spent = time.time() - begin


# -------------------------------------------------------------------------------- the model file

def write_safetensors(path, tensors, metadata):
    """Header length (8 bytes, little-endian), JSON header, then the data, sorted and dense."""
    header, offset = {"__metadata__": metadata}, 0
    names = sorted(tensors)
    for name in names:
        array = tensors[name]
        header[name] = {"dtype": {"float16": "F16", "float32": "F32"}[array.dtype.name],
                        "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(np.ascontiguousarray(tensors[name]).tobytes())


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", {})
    dtypes = {"F16": np.float16, "F32": np.float32}
    return {name: np.frombuffer(data, dtypes[t["dtype"]], math.prod(t["shape"]),
                                start + t["data_offsets"][0]).reshape(t["shape"])
            for name, t in header.items()}, metadata


def load_model(path, dtype=torch.float32):
    tensors, metadata = read_safetensors(path)
    model = Query2Label(json.loads(metadata["config"]))
    state = {k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    return model.to(dtype).eval(), metadata


def export(args):
    state = torch.load(pathlib.Path(args.run) / "last.pt")["average"]
    tensors = {}
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        value = value.numpy().copy(order="C")
        # Variances reach below half precision's smallest normal numbers; they are few.
        keep = name.endswith("running_var") or np.abs(value).max() > 60000
        tensors[name] = value if keep else value.astype(np.float16)
    metadata = {"format": "query2label", "config": json.dumps(CONFIG), "labels": json.dumps(LABELS),
                "mean": json.dumps(MEAN), "std": json.dumps(STD)}
    write_safetensors(args.out, tensors, metadata)
    model, _ = load_model(args.out, torch.float64)
    shape = [1, 3, CONFIG["img_size"], CONFIG["img_size"]]
    with torch.no_grad():
        inputs = torch.from_numpy(recipe.fill("input", shape, 0.0, 2.0, SELF_TEST_SEED)).double()
        logits = model(inputs)[0].tolist()
    metadata["self_test"] = json.dumps({"seed": SELF_TEST_SEED, "shape": shape, "offset": 0,
                                        "scale": 2, "logits": [round(v, 9) for v in logits]})
    write_safetensors(args.out, tensors, metadata)
    count = sum(v.size for v in tensors.values())
    print(f"{args.out}: {count} numbers, {pathlib.Path(args.out).stat().st_size} bytes")


# ------------------------------------------------------------------------- scenes and evaluation

def scenes(args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    truth = {}
    for index in range(args.count):
        picture, labels = draw_scene(args.seed, index, args.width, args.height)
        name = f"scene{index:05d}.png"
        picture.save(out / name)
        truth[name] = [LABELS[k] for k in labels]
    (out / "labels.json").write_text(json.dumps(truth, indent=0) + "\n")


def pictures(args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, index, size in PICTURES:
        picture, labels = draw_scene(PICTURE_SEED, index, *size, degrade=False)
        picture.save(out / name, **({"quality": 90} if name.endswith("jpg") else {}))
        print(f"{name}: {', '.join(LABELS[k] for k in labels)}")


def evaluate(args):
    torch.set_num_threads(args.threads)
    model, metadata = load_model(args.model)
    size, names = model.config["img_size"], json.loads(metadata["labels"])
    if args.scenes:
        folder = pathlib.Path(args.scenes)
        truth = json.loads((folder / "labels.json").read_text())
        drawn = ((path, Image.open(folder / path).convert("RGB"),
                  [names.index(label) for label in labels]) for path, labels in truth.items())
    else:
        drawn = ((f"scene{i:05d}.png", *draw_scene(args.seed, i)) for i in range(args.count))
    paths, inputs, targets = [], [], []
    for path, picture, labels in drawn:
        paths.append(path)
        inputs.append(to_tensor(picture, size))
        targets.append(to_target(labels))
    scores = scores_of(model, torch.stack(inputs))
    truth = torch.stack(targets).numpy()
    mean, per_label = mean_average_precision(scores, truth)
    decided = scores > 0.5
    right = (decided * truth).sum()
    print(f"{len(paths)} scenes: mAP {mean:.2f}; at 0.5: overall precision "
          f"{100 * right / max(decided.sum(), 1):.1f}, recall {100 * right / truth.sum():.1f}")
    worst = sorted((a, n) for a, n in zip(per_label, names) if a is not None)[:5]
    print("weakest: " + ", ".join(f"{name} {100 * a:.1f}" for a, name in worst))
    if args.out:
        result = {"model": pathlib.Path(args.model).name, "labels": names, "mAP": mean,
                  "average_precision": per_label,
                  "scores": [{"path": p, "scores": s.tolist()} for p, s in zip(paths, scores)]}
        pathlib.Path(args.out).write_text(json.dumps(result) + "\n")


def compare(args):
    """Largest difference between PyTorch's scores and those that q2l wrote for the same scenes."""
    reference = json.loads(pathlib.Path(args.scores).read_text())
    wanted = {record["path"]: record["scores"] for record in reference["scores"]}
    largest, count = 0.0, 0
    for line in pathlib.Path(args.jsonl).read_text().splitlines():
        record = json.loads(line)
        expected = wanted.pop(pathlib.Path(record["path"]).name)
        got = [tag["score"] for tag in record["scores"]]
        largest = np.maximum(largest, np.abs(np.subtract(got, expected)).max())  # NaN stays
        count += len(got)
    good = not wanted and largest <= args.tolerance
    print(f"{'ok' if good else 'FAIL'}: {count} scores, largest difference {largest:.2e}, "
          f"{len(wanted)} scenes absent")
    sys.exit(0 if good else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)

    p = commands.add_parser("train", help="train for a given time")
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--out", required=True, help="folder for last.pt and log.txt")
    p.add_argument("--resume", action="store_true", help="go on from last.pt")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    p.add_argument("--average", type=float, default=0.998, help="decay of the moving average")
    p.add_argument("--small-size", type=int, default=128, help="pixels in the first part")
    p.add_argument("--small-part", type=float, default=0.55, help="share of the time at that size")
    p.add_argument("--watch", type=float, default=8, help="minutes between saves and mAP")
    p.add_argument("--threads", type=int, default=2)
    p.set_defaults(run_command=train)

    p = commands.add_parser("export", help="write the model file of a training run")
    p.add_argument("--run", required=True)
    p.add_argument("--out", required=True)
    p.set_defaults(run_command=export)

    p = commands.add_parser("scenes", help="draw scenes as PNG with labels.json")
    p.add_argument("--count", type=int, required=True)
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--width", type=int, default=160)
    p.add_argument("--height", type=int, default=160)
    p.set_defaults(run_command=scenes)

    p = commands.add_parser("pictures", help="draw the example pictures")
    p.add_argument("--out", required=True)
    p.set_defaults(run_command=pictures)

    p = commands.add_parser("evaluate", help="mAP and scores of a model file")
    p.add_argument("--model", required=True)
    p.add_argument("--scenes", help="folder written by `scenes`; else they are drawn")
    p.add_argument("--count", type=int, default=2000)
    p.add_argument("--seed", type=int, default=3)
    p.add_argument("--out", help="JSON file for every score")
    p.add_argument("--threads", type=int, default=2)
    p.set_defaults(run_command=evaluate)

    p = commands.add_parser("compare", help="PyTorch's scores against q2l's")
    p.add_argument("--scores", required=True, help="written by `evaluate`")
    p.add_argument("--jsonl", required=True, help="q2l tag --format jsonl --scores all --output")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.set_defaults(run_command=compare)

    args = parser.parse_args()
    args.run_command(args)


if __name__ == "__main__":
    main()
