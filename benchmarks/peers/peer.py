#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A runtime's side of compare.py; the lines it reads and writes are those of q2l_peer.cpp.

    peer.py RUNTIME STEM BATCH INPUT THREADS      RUNTIME of runtimes.py; STEM: FOLDER/NAME

At the start it may also answer "skipped REASON". "ready SECONDS" is followed by a note, if any.
"""
import os
import sys
import time

import numpy as np

from runtimes import RUNTIMES, Unavailable


def main():
    runtime, stem, batch, input_path, threads = sys.argv[1:]
    start = time.perf_counter()
    try:
        infer, note = RUNTIMES[runtime].load(stem, int(batch), int(threads))
    except Unavailable as reason:
        print("skipped", reason, flush=True)
        return
    except Exception as error:  # whatever a runtime throws: the others go on without it
        print("skipped", type(error).__name__ + ":", *str(error).split(), flush=True)
        return
    seconds = time.perf_counter() - start
    pixels = np.fromfile(input_path, np.float32).reshape(int(batch), 3, -1)
    side = round(pixels.shape[2] ** 0.5)
    x = pixels.reshape(int(batch), 3, side, side)
    print("ready", seconds, note, flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "run":
            times = []
            for _ in range(int(argument)):
                begin = time.perf_counter()
                logits = infer(x)
                times.append(time.perf_counter() - begin)
            print(*times, flush=True)
        elif command == "logits":
            np.asarray(logits, np.float32).tofile(argument)
            print("done", flush=True)
        else:
            sys.exit(f"peer.py: unknown command {command}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some runtimes take seconds to tear down
