#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a compiler makes slow machine code of the loops that take most of the time.

    check_hot_loops.py INSTRUCTION_SET COMPILER [OPTION...]

compiles tests/kernels/matmul_tiles.cpp at -O3 for that x86-64 instruction set and reads what objdump
says of each register tile's innermost loop. The sums must stay in registers: none is stored to the
stack. The largest tile, which does most of the work, takes no more instructions than it needs:
its products, a broadcast for each row, a load for each vector of a panel, and counting.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "kernels" / "matmul_tiles.cpp"
# Instructions for one pass through the innermost loop of the largest tile, and the products
# among them. With AVX2 alone bf16 is widened in registers and int8 takes a widening and an addition.
MOST = {
    "x86-64-v3": {"float": (24, 12), "bfloat16": (50, 24), "signed char": (36, 12)},
    "alderlake": {"float": (24, 12), "bfloat16": (50, 24), "signed char": (24, 12)},
    "cooperlake": {"float": (38, 24), "bfloat16": (38, 24), "signed char": (38, 24)},
}
PRODUCT = re.compile(r"(\{vex\} )?(vfmadd\d+ps|vdpbf16ps|vpdpbusd|vpmaddwd) ")
SPILL = re.compile(r"vmov\w+ +%[xyz]mm\d+,(-?0x[0-9a-f]+)?\(%r[sb]p\)")
JUMP = re.compile(r"(j\w+) +([0-9a-f]+)\b")
TILE = re.compile(r"matmul_tile<float, ([^,]+), .*, (\d+)ul, (\d+)ul>\(")


def functions(path):
    """Name and instructions, as (address, text), of each function of an object file."""
    listing = subprocess.run(["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", path],
                             check=True, capture_output=True, text=True).stdout
    for part in re.split(r"\n(?=[0-9a-f]+ <)", listing)[1:]:
        head, _, body = part.partition("\n")
        yield head, [(int(address, 16), text) for address, text in
                     re.findall(r"^ +([0-9a-f]+):\s+(.*?)\s*$", body, re.MULTILINE)]


def blocks(instructions):
    """Basic blocks: the texts of each one's instructions, and the numbers of its successors."""
    index = {address: i for i, (address, _) in enumerate(instructions)}
    targets, ends = [], []
    for _, text in instructions:
        jump = JUMP.match(text)
        targets.append(index.get(int(jump.group(2), 16)) if jump else None)
        ends.append(bool(jump) or text.startswith(("ret", "ud2")))
    leaders = sorted({0} | {t for t in targets if t is not None} |
                     {i + 1 for i, end in enumerate(ends[:-1]) if end})
    number = {leader: b for b, leader in enumerate(leaders)}
    texts, successors = [], []
    for begin, end in zip(leaders, leaders[1:] + [len(instructions)]):
        last = instructions[end - 1][1]
        after = [] if targets[end - 1] is None else [number[targets[end - 1]]]
        if end < len(instructions) and not last.startswith(("jmp", "ret", "ud2")):
            after.append(number[end])
        texts.append([text for _, text in instructions[begin:end]])
        successors.append(after)
    return texts, successors


def innermost_loops(instructions):
    """The instructions of each natural loop that holds no other."""
    texts, successors = blocks(instructions)
    reached, waiting = set(), [0]
    while waiting:
        b = waiting.pop()
        if b not in reached:
            reached.add(b)
            waiting += successors[b]
    predecessors = {b: [p for p in reached if b in successors[p]] for b in reached}
    dominators = {b: reached if b else {0} for b in reached}
    changed = True
    while changed:
        changed = False
        for b in sorted(reached - {0}):
            own = {b}.union(set.intersection(*(set(dominators[p]) for p in predecessors[b])))
            changed |= own != dominators[b]
            dominators[b] = own
    loops = {}
    for b in reached:
        for head in dominators[b].intersection(successors[b]):
            body, waiting = loops.setdefault(head, {head}), [b]
            while waiting:
                inside = waiting.pop()
                if inside not in body:
                    body.add(inside)
                    waiting += predecessors[inside]
    for body in loops.values():
        if not any(other < body for other in loops.values()):
            yield [text for b in sorted(body) for text in texts[b]]


def check(path, most):
    """What is wrong with the tiles of an object file."""
    tiles = {}
    for name, instructions in functions(path):
        tile = TILE.search(name)
        if not tile:
            continue
        weights, rows, vectors = tile.group(1).removeprefix("q2l::"), *map(int, tile.group(2, 3))
        loops = [loop for loop in innermost_loops(instructions) if any(map(PRODUCT.match, loop))]
        tiles[weights, rows, vectors] = loops
        for loop in loops:
            spills = sum(map(bool, map(SPILL.match, loop)))
            if spills:
                yield f"{weights}, {rows} x {vectors}: {spills} of {len(loop)} instructions spill"
    for weights, (instructions, products) in most.items():
        sizes = [size[1:] for size in tiles if size[0] == weights]
        if not sizes or not all(tiles[weights, *size] for size in sizes):
            yield f"{weights}: no tile, or one in which no loop multiplies"
            continue
        rows, vectors = max(sizes)
        for loop in tiles[weights, rows, vectors]:
            found = sum(map(bool, map(PRODUCT.match, loop)))
            if len(loop) * products > instructions * found:
                yield (f"{weights}, {rows} x {vectors}: {len(loop)} instructions for {found} "
                       f"products, expected {instructions} for {products}")
        print(f"{weights}: {len(sizes)} tiles, {rows} x {vectors} takes",
              ", ".join(str(len(loop)) for loop in tiles[weights, rows, vectors]), "instructions")


def main():
    instruction_set, *compiler = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "matmul_tiles.o")
        subprocess.run([*compiler, "-std=c++20", "-O3", "-DNDEBUG", "-march=" + instruction_set,
                        "-c", str(SOURCE), "-o", path], check=True)
        problems = list(check(path, MOST[instruction_set]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
