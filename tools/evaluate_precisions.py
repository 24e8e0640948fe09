#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What bf16 and int8 cost the bundled model: mAP, CF1 and OF1 on fresh scenes.

    evaluate_precisions.py Q2L [--model M] [--count 2000] [--seed 7] [--folder DIR]

Q2L is the command. Scenes 0 .. count - 1 of the seed are tagged; int8 is calibrated with 128 scenes
of another seed. Needs numpy, Pillow and Debian's fonts-noto-color-emoji.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from average_precision import mean_average_precision
from demo_scenes import draw_scene

CALIBRATION_SCENES = 128
CALIBRATION_SEED = 1_000_003


def draw_scenes(parent, seed, count):
    """Writes the scenes into a folder of their own in `parent`, unless they are there. Returns it
    and the labels of each, by their numbers."""
    folder = parent / f"scenes-{seed}-{count}"
    drawing = folder.with_suffix(".drawing")
    is_there = folder.exists()
    if not is_there:
        shutil.rmtree(drawing, ignore_errors=True)
        drawing.mkdir(parents=True)
    found = []
    for index in range(count):
        picture, labels = draw_scene(seed, index)
        if not is_there:
            picture.save(drawing / f"scene{index:05d}.png")
        found.append(labels)
    if not is_there:
        drawing.rename(folder)
    return folder, found


def scores_of(q2l, model, folder, threads):
    """[pictures, labels]."""
    lines = subprocess.run(
        [q2l, "tag", "--model", model, "--format", "jsonl", "--scores", "all", "--threads",
         str(threads), folder], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    return np.array([[label["score"] for label in record["scores"]] for record in records])


def f1(precision, recall):
    return 200 * precision * recall / max(precision + recall, 1e-12)


def figures(scores, truth):
    """mAP, CF1 and OF1 in per cent, at threshold 0.5; recall over the labels with positives."""
    decided = scores >= 0.5
    right = (decided & truth).sum(0)
    class_precision = np.mean(right / np.maximum(decided.sum(0), 1))
    class_recall = np.mean((right / np.maximum(truth.sum(0), 1))[truth.any(0)])
    return (mean_average_precision(scores, truth)[0], f1(class_precision, class_recall),
            f1(right.sum() / max(decided.sum(), 1), right.sum() / truth.sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("q2l", type=pathlib.Path)
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument("--model", default=root / "examples/data/demo.safetensors")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path, help="keeps scenes and models")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or pathlib.Path(temporary)
        scenes, found = draw_scenes(folder, args.seed, args.count)
        calibration, _ = draw_scenes(folder, CALIBRATION_SEED, CALIBRATION_SCENES)
        models = {"f32": args.model}
        for name, options in {
                "bf16": ["--precision", "bf16"],
                **{f"int8 {scales}": ["--precision", "int8", "--scales", scales, "--calibrate",
                                      calibration]
                   for scales in ("min-max", "percentile", "mse")}}.items():
            models[name] = folder / f"{name.replace(' ', '-')}.safetensors"
            subprocess.run([args.q2l, "convert", args.model, models[name], *options], check=True)
        print("| precision | mAP | CF1 | OF1 | largest change | mean change | file MB |")
        print("|---|---|---|---|---|---|---|")
        wide = None
        for name, model in models.items():
            scores = scores_of(args.q2l, model, scenes, args.threads)
            if len(scores) != args.count:
                sys.exit(f"{len(scores)} of {args.count} scenes were tagged")
            truth = np.zeros(scores.shape, bool)
            for row, labels in zip(truth, found):
                row[labels] = True
            wide = scores if wide is None else wide
            change = np.abs(scores - wide)
            print("| {} | {:.2f} | {:.2f} | {:.2f} | {:.1e} | {:.1e} | {:.2f} |".format(
                name, *figures(scores, truth), change.max(), change.mean(),
                pathlib.Path(model).stat().st_size / 1e6), flush=True)


if __name__ == "__main__":
    main()
