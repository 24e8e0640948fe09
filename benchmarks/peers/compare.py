#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times our models against other runtimes, in one interleaved run, after comparing the answers.

    compare.py FOLDER NAME... --ours Q2L_PEER [--threads 1 2] [--batch 1 8] [--rounds N]
               [--runs N] [--json OUT.json]

FOLDER holds what export_model.py wrote. For each model, batch size and number of threads every
runtime is a process of its own, loaded one after the other. First each answers; an answer further
than 1e-3 from PyTorch's stops the run with status 1. Then the runtimes take turns: in
each round each makes `--runs` inferences, so that all meet the same noise of the machine.

CPU is processor time of all threads, the least per inference over the rounds: with one thread it
says what a busy machine hides; with more it counts waiting threads that spin.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

LARGEST_DIFFERENCE = 1e-3
HERE = pathlib.Path(__file__).resolve().parent


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


def package_folder(name):
    import importlib.util
    return pathlib.Path(importlib.util.find_spec(name).origin).parent


class Peer:
    """A running runtime with one model."""

    def __init__(self, name, command, files):
        self.name = name
        self.disk = sum(size_of(f) for f in files)
        self.times = []
        self.processor_times = []
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.load_seconds = float(self.answer().split()[1])

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
        before = self.processor_seconds()
        times = [float(t) for t in self.ask(f"run {count}").split()]
        self.processor_times.append((self.processor_seconds() - before) / count)
        return times

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
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start_peers(args, name, batch, threads):
    stem = args.folder / f"{name}-b{batch}"
    model = args.folder / f"{name}.safetensors"
    peers = [Peer("q2l", [args.ours.resolve(), model, f"{stem}.input", threads], [args.ours, model])]
    for runtime in args.runtimes:
        onnx = f"{stem}.onnx"
        peers.append(Peer(runtime, [sys.executable, HERE / "peer.py", runtime, onnx,
                                    f"{stem}.input", threads], [package_folder(runtime), onnx]))
    return peers


def compare(args, name, batch, threads):
    """Rows of the table for one setting."""
    peers = start_peers(args, name, batch, threads)
    expected = np.fromfile(args.folder / f"{name}-b{batch}.logits", np.float32)
    differences = {}
    for peer in peers:
        first = peer.run(1)[0]  # also the warm-up
        logits = peer.logits()
        if logits.shape != expected.shape:
            sys.exit(f"{name}: {peer.name} answers {logits.size} logits, not {expected.size}")
        differences[peer.name] = float(np.abs(logits - expected).max())
        peer.first_seconds = first
        if not differences[peer.name] <= LARGEST_DIFFERENCE:
            sys.exit(f"{name}: {peer.name} is {differences[peer.name]:.2g} off; nothing was timed")
    for _ in range(args.rounds):
        for peer in peers:
            peer.times += peer.run(args.runs)
    rows = []
    ours, ours_processor = min(peers[0].times), min(peers[0].processor_times)
    for peer in peers:
        rows.append({"model": name, "batch": batch, "threads": threads, "runtime": peer.name,
                     "min_s": min(peer.times), "median_s": statistics.median(peer.times),
                     "min_processor_s": min(peer.processor_times),
                     "ratio": min(peer.times) / ours,
                     "processor_ratio": min(peer.processor_times) / ours_processor,
                     "first_s": peer.first_seconds,
                     "load_s": peer.load_seconds, "peak_bytes": peer.peak_bytes(),
                     "disk_bytes": peer.disk, "max_difference": differences[peer.name],
                     "runs": len(peer.times)})
        peer.close()
    return rows


HEADING = ("| model | batch | threads | runtime | min ms | median ms | ratio to ours | "
           "min CPU ms | CPU ratio | load s | peak MB | disk MB | largest difference |\n" + "|---" * 13 + "|")


def table_line(row):
    return (f"| {row['model']} | {row['batch']} | {row['threads']} | {row['runtime']} | "
            f"{row['min_s'] * 1e3:.0f} | {row['median_s'] * 1e3:.0f} | {row['ratio']:.2f} | "
            f"{row['min_processor_s'] * 1e3:.0f} | {row['processor_ratio']:.2f} | "
            f"{row['load_s']:.2f} | {row['peak_bytes'] / 1e6:.0f} | {row['disk_bytes'] / 1e6:.0f} | "
            f"{row['max_difference']:.1e} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="+", metavar="NAME")
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    print(HEADING, flush=True)
    rows = []
    for name in args.models:
        for batch in args.batch:
            for threads in args.threads:
                for row in compare(args, name, batch, threads):
                    row["load_average"] = os.getloadavg()[0]
                    rows.append(row)
                    print(table_line(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
