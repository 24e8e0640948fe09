#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a header breaks a rule of the house.

* A header includes only from its own folder or from folders further left:
  core <- simd <- kernels <- ops <- weights <- the stages <- model <- the top level.
  The stages (image, backbone, transformer, head, labels, metrics) never include one another.
* Third-party headers are included in few, named places.
* The library never prints, exits or aborts.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "include" / "query2label"
STAGES = ["image", "backbone", "transformer", "head", "labels", "metrics"]
RANK = {"core": 0, "simd": 1, "kernels": 2, "ops": 3, "weights": 4, "model": 6, "": 7, "cuda": 7}
RANK.update({stage: 5 for stage in STAGES})
THIRD_PARTY = {
    "xsimd/": {"simd/arch.hpp"},
    "nlohmann/": {"weights/json_document.hpp"},
    "stb": {"image/stb_decoder.hpp", "image/png_encode.hpp"},
    "Eigen/": {"model/eigen_view.hpp"},
}
FORBIDDEN = re.compile(r"std::(cout|cerr|clog|abort|exit|_Exit|quick_exit|terminate)\b|"
                       r"\b(v?f?printf|f?puts|f?putc|putchar|fwrite|perror|abort|_?exit|"
                       r"__builtin_trap)\(")


def room(header):
    return header.parts[0] if len(header.parts) > 1 else ""


def check(path):
    header = path.relative_to(ROOT)
    own = room(header)
    if own not in RANK:
        yield f"{header}: there is no room called '{own}'"
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        place = f"{header}:{number}"
        if FORBIDDEN.search(line.split("//")[0]):
            yield f"{place}: the library never prints, exits or aborts"
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        target = match.group(2)
        if target.startswith("query2label/"):
            other = room(pathlib.PurePath(target).relative_to("query2label"))
            if other not in RANK or RANK[other] > RANK[own] or (
                    RANK[other] == RANK[own] and other != own):
                yield f"{place}: '{own or 'top level'}' must not include '{target}'"
        elif match.group(1) == '"':
            yield f"{place}: our headers are included as \"query2label/...\""
        for prefix, places in THIRD_PARTY.items():
            if target.startswith(prefix) and str(header) not in places:
                yield f"{place}: only {sorted(places)} may include '{target}'"


def main():
    headers = sorted(path for kind in ("*.hpp", "*.cuh") for path in ROOT.rglob(kind))
    problems = [problem for header in headers for problem in check(header)]
    print("\n".join(problems))
    print(f"{len(headers)} headers, {len(problems)} problems")
    return 1 if problems or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
