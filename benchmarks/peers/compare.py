#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times our models against other runtimes, in one interleaved run, after comparing the answers.

    compare.py FOLDER NAME... --ours Q2L_PEER [--our-models PRECISION=SUFFIX...] [--runtimes ...]
               [--threads 1 2] [--batch 1 8] [--rounds N] [--runs N] [--results OUT]

FOLDER holds what export_model.py and quantize_model.py wrote. We take part once per model file
FOLDER/NAME+SUFFIX; the first is what ratios refer to. For each model, batch size and number of
threads every runtime is a process of its own, loaded one after the other; one that cannot be had is
listed as skipped, with the reason. First each answers. In float32 an answer further than 1e-3 from
PyTorch's stops the run with status 1; in bf16 and int8 the error is only reported: the root mean
square relative to the spread (standard deviation) of the labels' logits. Then the runtimes take
turns: in each round each makes `--runs` inferences, so that all meet the same noise of the machine.
One whose first inferences took over ten times ours is not repeated.

CPU is processor time of all threads, the least per inference over the rounds: with one thread it
says what a busy machine hides; with more it counts waiting threads that spin. Writes OUT.json and
OUT.md after every setting.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from disk_size import size_of_files, size_of_package
from runtimes import RUNTIMES

LARGEST_DIFFERENCE = 1e-3  # of float32 logits
TOO_SLOW = 10              # times ours: not repeated
PAUSE = 0.1                # seconds between turns: waiting threads of the one before stop spinning
HERE = pathlib.Path(__file__).resolve().parent


class Peer:
    """A running runtime with one model; `skipped` says why it does not run, if so."""

    def __init__(self, name, precision, command, disk_bytes):
        self.name, self.precision, self.disk_bytes = name, precision, disk_bytes
        self.times, self.processor_times = [], []
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        state, _, rest = self.answer().strip().partition(" ")
        self.skipped = rest if state == "skipped" else None
        if not self.skipped:
            seconds, _, self.note = rest.partition(" ")
            self.load_seconds = float(seconds)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} stopped with status {self.process.wait()}")
        return line

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self, count):
        time.sleep(PAUSE)
        before = self.processor_seconds()
        self.times += [float(t) for t in self.ask(f"run {count}").split()]
        self.processor_times.append((self.processor_seconds() - before) / count)

    def warm_up(self):
        """Two inferences: the first may still compile or pack; the second is `warm_seconds`."""
        self.run(1)
        self.first_seconds = self.times.pop()
        self.processor_times.clear()
        self.run(1)
        self.warm_seconds = self.times[0]

    def logits(self):
        with tempfile.NamedTemporaryFile() as file:
            self.ask(f"logits {file.name}")
            return np.fromfile(file.name, np.float32)

    def processor_seconds(self):
        """Time on a core of all threads together, from the start."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total * 1e-9

    def peak_bytes(self):
        """The most memory that was resident in this process, mapped files included."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start_peers(args, name, batch, threads):
    """Ours first, then the others in the order asked for."""
    stem = args.folder / name
    pictures = f"{stem}-b{batch}.input"
    for precision, suffix in args.our_models:
        model = f"{stem}{suffix}"
        yield Peer(f"q2l-{precision}", precision, [args.ours.resolve(), model, pictures, threads],
                   size_of_files([args.ours, model]))
    for name in args.runtimes:
        runtime = RUNTIMES[name]
        files = [pathlib.Path(f.format(stem=stem, batch=batch)) for f in runtime.files]
        yield Peer(name, runtime.precision,
                   [sys.executable, HERE / "peer.py", name, stem, batch, pictures, threads],
                   size_of_files(f for f in files if f.exists()) + size_of_package(runtime.package))


def check_answer(peer, expected):
    """Keeps how far a peer's answer is from PyTorch's, [N, K]; stops where float32 is wrong."""
    logits = peer.logits()
    if logits.size != expected.size:
        sys.exit(f"{peer.name} answers {logits.size} logits, not {expected.size}")
    error = logits.reshape(expected.shape) - expected
    peer.max_difference = float(np.abs(error).max())
    peer.relative_error = float(np.sqrt(np.square(error).mean()) / expected.std(axis=1).mean())
    if peer.precision == "f32" and not peer.max_difference <= LARGEST_DIFFERENCE:
        sys.exit(f"{peer.name} is {peer.max_difference:.2g} off; nothing was timed")


def compare(args, name, batch, threads):
    """Rows of the table for one setting."""
    setting = {"model": name, "batch": batch, "threads": threads}
    peers = list(start_peers(args, name, batch, threads))
    running = [p for p in peers if not p.skipped]
    expected = np.fromfile(args.folder / f"{name}-b{batch}.logits", np.float32).reshape(batch, -1)
    for peer in running:
        peer.warm_up()
        check_answer(peer, expected)
    ours = peers[0]
    timed = [p for p in running if p.warm_seconds <= TOO_SLOW * ours.warm_seconds]
    for _ in range(args.rounds):
        for peer in timed:
            peer.run(args.runs)
    for peer in peers:
        row = {**setting, "runtime": peer.name, "precision": peer.precision}
        if peer.skipped:
            yield {**row, "skipped": peer.skipped}
            continue
        yield {**row, "min_s": min(peer.times), "median_s": statistics.median(peer.times),
               "picture_s": min(peer.times) / batch, "ratio": min(peer.times) / min(ours.times),
               "min_processor_s": min(peer.processor_times),
               "processor_ratio": min(peer.processor_times) / min(ours.processor_times),
               "load_s": peer.load_seconds, "first_s": peer.first_seconds,
               "peak_bytes": peer.peak_bytes(), "disk_bytes": peer.disk_bytes,
               "max_difference": peer.max_difference, "relative_error": peer.relative_error,
               "runs": len(peer.times), "note": peer.note, "load_average": os.getloadavg()[0]}
    for peer in peers:
        peer.close()


HEADING = ("| model | batch | threads | runtime | min ms | median ms | ms a picture | ratio to ours"
           " | min CPU ms | CPU ratio | load s | first s | peak MB | disk MB | max error |"
           " rms / spread | runs | note |\n" + "|---" * 18 + "|")


def table_line(row):
    start = f"| {row['model']} | {row['batch']} | {row['threads']} | {row['runtime']} | "
    if "skipped" in row:
        return start + "- | " * 13 + f"skipped: {row['skipped']} |"
    return start + (
        f"{row['min_s'] * 1e3:.0f} | {row['median_s'] * 1e3:.0f} | {row['picture_s'] * 1e3:.0f} | "
        f"{row['ratio']:.2f} | {row['min_processor_s'] * 1e3:.0f} | {row['processor_ratio']:.2f} | "
        f"{row['load_s']:.1f} | {row['first_s']:.2f} | {row['peak_bytes'] / 1e6:.0f} | "
        f"{row['disk_bytes'] / 1e6:.0f} | {row['max_difference']:.1e} | "
        f"{row['relative_error']:.1e} | {row['runs']} | {row['note']} |")


def batch_table(rows):
    """Lines that compare a picture's cost in a batch with its cost alone."""
    alone = {(r["model"], r["threads"], r["runtime"]): r["picture_s"] for r in rows
             if r["batch"] == 1 and "picture_s" in r}
    lines = ["| model | threads | runtime | batch | ms a picture | ms alone | ratio |", "|---" * 7 + "|"]
    for row in rows:
        before = alone.get((row["model"], row["threads"], row["runtime"]))
        if row["batch"] > 1 and before and "picture_s" in row:
            lines.append(f"| {row['model']} | {row['threads']} | {row['runtime']} | {row['batch']} | "
                         f"{row['picture_s'] * 1e3:.0f} | {before * 1e3:.0f} | "
                         f"{row['picture_s'] / before:.2f} |")
    return lines if len(lines) > 2 else []


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="+", metavar="NAME")
    parser.add_argument("--ours", required=True, type=pathlib.Path, help="the program q2l_peer")
    parser.add_argument("--our-models", nargs="+", metavar="PRECISION=SUFFIX",
                        type=lambda text: text.split("=", 1), default=[["f32", ".safetensors"]])
    parser.add_argument("--runtimes", nargs="*", choices=list(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=positive, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument("--runs", type=positive, default=2)
    parser.add_argument("--results", type=pathlib.Path, help="path without suffix")
    parser.add_argument("--check-arguments", action="store_true", help="does no more than that")
    args = parser.parse_args()
    if args.check_arguments:
        return
    print(HEADING, flush=True)
    rows = []
    for name in args.models:
        for batch in args.batch:
            for threads in args.threads:
                for row in compare(args, name, batch, threads):
                    rows.append(row)
                    print(table_line(row), flush=True)
                if args.results:
                    args.results.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
                    lines = [HEADING, *map(table_line, rows), "", *batch_table(rows)]
                    args.results.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")
    print("", *batch_table(rows), sep="\n")


if __name__ == "__main__":
    main()
