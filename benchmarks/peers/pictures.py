# SPDX-License-Identifier: MIT
"""Pictures of a folder as a model's input: the first ones are timed, those behind calibrate."""
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from train_demo import to_tensor  # noqa: E402

SUFFIXES = {".jpg", ".jpeg", ".png"}
TIMED = 8  # pictures kept for timing: the largest batch size


def picture_paths(folder):
    return sorted(p for p in pathlib.Path(folder).iterdir() if p.suffix.lower() in SUFFIXES)


def read_pictures(folder, config, first, count):
    """`count` pictures from number `first` on, float32 [count, 3, S, S]."""
    paths = picture_paths(folder)[first:first + count]
    if len(paths) < count:
        raise SystemExit(f"{folder}: {first + count} pictures wanted, fewer found")
    normalisation = ((0, 0, 0), (1, 1, 1)) if config["orid_norm"] else ()
    return np.stack([to_tensor(Image.open(p).convert("RGB"), config["img_size"],
                               *normalisation).numpy() for p in paths])


def calibration_batches(folder, config, batch):
    """The pictures behind the timed ones, `batch` at a time; a rest that fills no batch is left."""
    count = len(picture_paths(folder)) - TIMED
    for first in range(TIMED, TIMED + count - batch + 1, batch):
        yield read_pictures(folder, config, first, batch)
